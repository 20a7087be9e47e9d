"""Tools and protocols that speak to the port besides REST clients: buf curl, Connect, gRPC-web, health."""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.envoy.stack import DEADLINE_SECONDS, Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUF = Path(sys.executable).with_name("buf")
CHAT = {"model": "m", "messages": [{"content": json.dumps({"steps": {"*": [["send", "a"], ["send", "b"]]}})}]}


async def buf_curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        BUF, "curl", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), DEADLINE_SECONDS)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_buf_curl_lists_services(stack: Stack) -> None:
    listed = await buf_curl(stack.envoy.url, "--list-services")

    assert "weft.inference.v1.InferenceService" in listed.splitlines()


@pytest.mark.parametrize("protocol", ["grpc", "connect", "grpcweb"])
async def test_buf_curl_streams_a_chat(stack: Stack, protocol: str) -> None:
    url = f"{stack.envoy.url}/weft.inference.v1.InferenceService/Chat"

    output = await buf_curl("--protocol", protocol, "-d", json.dumps(CHAT), url)

    assert [json.loads(part) for part in output.replace("}\n{", "}\0{").split("\0")] == [
        {"delta": "a"},
        {"delta": "b"},
    ]


@pytest.mark.parametrize("protocol", ["grpc", "connect", "grpcweb"])
async def test_refusal_of_check_reaches_every_protocol(stack: Stack, tmp_path: Path, protocol: str) -> None:
    status = {"content-type": "application/grpc", "grpc-status": "5", "grpc-message": "no model"}
    deny = {"deny": {"status": 200, "headers": status, "body": ""}}
    (tmp_path / "headers").write_text(f"check: {json.dumps(deny)}\n")
    url = f"{stack.envoy.url}/weft.inference.v1.InferenceService/Chat"
    arguments = ("--protocol", protocol, "--header", f"@{tmp_path / 'headers'}", "-d", json.dumps(CHAT), url)

    with pytest.raises(AssertionError, match=r'"not_found",\n *"message": "no model"'):
        await buf_curl(*arguments)


async def test_page_of_a_known_origin_may_call_rpcs(stack: Stack) -> None:
    ask = {
        "origin": "https://chat.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web",
    }

    answer = await stack.http1.options("/weft.inference.v1.InferenceService/Chat", headers=ask)

    assert answer.headers["access-control-allow-origin"] == "https://chat.example"


async def test_health_is_told_by_gateways(stack: Stack) -> None:
    check = stack.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        HealthCheckRequest.SerializeToString,
        HealthCheckResponse.FromString,
    )

    answer = await check(HealthCheckRequest(), timeout=DEADLINE_SECONDS)

    assert answer.status == HealthCheckResponse.SERVING


async def test_json_over_an_rpcs_path_is_an_unknown_url(stack: Stack) -> None:
    path = "/weft.inference.v1.InferenceService/Chat"

    answer: httpx.Response = await stack.http1.post(path, json=CHAT)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
