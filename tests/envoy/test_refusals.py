"""Answers that come from Check or from Envoy itself: complete and in shape for REST, plain statuses for gRPC."""

import asyncio
import json

import grpc
import httpx
import pytest

from tests.envoy.stack import BODY_LIMIT, DEADLINE_SECONDS, Stack
from tests.envoy.uploads import upload

pytestmark = pytest.mark.asyncio(loop_scope="session")

FRAME_BYTES = 16 * 1024


def openai(message: str, kind: str, code: str | None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def status(code: int, message: str, reason: str) -> dict[str, object]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "weft"}
    return {"code": code, "message": message, "details": [info]}


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_refusal_of_check_is_untouched(stack: Stack, protocol: str) -> None:
    body = '{"error": {"code": 5,  "message": "as it is"}}'
    headers = {"content-type": "application/json", "retry-after": "7"}

    answer = await stack.chat(
        check={"deny": {"status": 429, "headers": headers, "body": body}}, client=getattr(stack, protocol)
    )

    assert (answer.status_code, answer.text) == (429, body)
    assert {key: answer.headers[key] for key in headers} == headers


async def test_refusal_of_check_tells_rpcs_status_and_details(stack: Stack) -> None:
    headers = {"grpc-status": "5", "grpc-message": "caf%C3%A9", "grpc-status-details-bin": "CAU"}

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.rpc(check={"deny": {"status": 404, "headers": headers, "body": ""}}).read()

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "café")
    assert dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"] == b"\x08\x05"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("GET", '/v2/"quoted"?key=secret'),
        ("POST", "/v1/completion"),
        ("POST", "/weft.inference.v1.InferenceService/Chat"),
        ("POST", "/envoy.service.auth.v3.Authorization/Check"),
    ],
)
async def test_unknown_url_is_404_in_openais_words(stack: Stack, method: str, path: str) -> None:
    answer = await stack.http1.request(method, path, json={})

    shown = str(httpx.URL(path).raw_path.partition(b"?")[0], "ascii")
    message = f"Unknown request URL: {method} {shown}. Please check the URL for typos."
    assert (answer.status_code, answer.json()) == (
        404,
        openai(message, "invalid_request_error", "unknown_url"),
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/node/unknown"),
        ("GET", "/api/node/register?key=secret"),
        ("PUT", "/api/nodes"),
        ("GET", "/api/nodes/x/y/z"),
    ],
)
async def test_unknown_url_of_our_own_api_is_a_status(stack: Stack, method: str, path: str) -> None:
    answer = await stack.http1.request(method, path)

    message = f"Unknown request URL: {method} {path.partition('?')[0]}. Please check the URL for typos."
    assert (answer.status_code, answer.json()) == (404, status(5, message, "UNKNOWN_PATH"))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/m", "GET"),
    ],
)
async def test_wrong_method_is_405_and_names_the_right_one(
    stack: Stack, method: str, path: str, allowed: str
) -> None:
    answer = await stack.http1.request(method, path)
    assert answer.headers["allow"] == allowed

    message = f"Not allowed to {method} on {path}. Perhaps you meant another HTTP method?"
    assert (answer.status_code, answer.json()) == (
        405,
        openai(message, "invalid_request_error", "method_not_supported"),
    )


@pytest.mark.parametrize(
    "path",
    [
        "/no.such.Service/Method",
        "/weft.routing.v1.RoutingService/Route",
        "/weft.backend.v1.BackendService/UnloadModel",
        "/envoy.service.auth.v3.Authorization/Check",
        "/v1/chat/completions",
        "/api/node/register",
    ],
)
async def test_rpcs_that_are_not_for_the_public_are_unimplemented(stack: Stack, path: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.rpc(path=path).read()

    message = f"Unknown rpc: {path}. Please check its name for typos."
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, message)


async def test_unknown_url_asks_no_gateway(stack: Stack) -> None:
    before = len(stack.gateway.checks)

    await stack.http1.get("/nowhere")

    assert len(stack.gateway.checks) == before


async def test_body_over_the_limit_is_413(stack: Stack) -> None:
    async with upload(stack.envoy, "/v1/chat/completions", BODY_LIMIT + 1) as over:
        status_code, body = await over.answer()

    message = f"The request's body is larger than the limit of {BODY_LIMIT} bytes."
    assert (status_code, json.loads(body)) == (
        413,
        openai(message, "invalid_request_error", "body_too_large"),
    )


async def test_message_over_the_limit_is_resource_exhausted(stack: Stack) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.rpc(padding="x" * (BODY_LIMIT + FRAME_BYTES)).read()

    message = f"The request's body is larger than the limit of {BODY_LIMIT} bytes."
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, message)


async def test_check_is_told_that_a_message_was_cut_in_its_last_frame(stack: Stack) -> None:
    await stack.rpc(("who",), padding="x" * BODY_LIMIT).read()

    http = stack.gateway.checks[-1].attributes.request.http
    assert (http.headers["x-envoy-auth-partial-body"], len(http.raw_body)) == ("true", BODY_LIMIT)


async def test_malformed_json_of_a_typed_rpc_is_400(stack: Stack) -> None:
    answer = await stack.http1.post("/api/node/register", content='{"name": ')

    message = answer.json()["message"]
    assert message.startswith("Unexpected end of string.")
    assert (answer.status_code, answer.json()) == (400, status(3, message, "INVALID_REQUEST"))


@pytest.mark.parametrize(
    ("head", "code", "what"),
    [
        (b"GET /v1/models HTTP/1.1", 400, "missing_host_header"),
        (b"GET /v1/models%00 HTTP/1.1\r\nhost: x", 400, "path_normalization_failed"),
        (b"GET /v1/models#part HTTP/1.1\r\nhost: x", 400, "path_normalization_failed"),
        (
            b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket",
            403,
            "upgrade_failed",
        ),
        (b"NONSENSE", 400, "http1.codec_error"),
    ],
)
async def test_what_is_no_request_is_told_so(stack: Stack, head: bytes, code: int, what: str) -> None:
    answer, body = await _raw(stack, head)

    message = f"This request cannot be served as it is ({what})."
    assert answer.split()[1] == str(code).encode()
    assert json.loads(body) == openai(message, "invalid_request_error", None)
    names = [line.partition(b":")[0] for line in answer.splitlines()]
    assert names.count(b"x-correlation-id") == 1


async def test_headers_that_are_too_many_are_told_so_with_an_id(stack: Stack) -> None:
    many = b"\r\n".join(b"x-%d: y" % number for number in range(200))
    answer, body = await _raw(stack, b"POST /api/chat HTTP/1.1\r\nhost: x\r\n" + many)

    assert answer.split()[1] == b"431"
    assert json.loads(body)
    assert b"x-correlation-id: " in answer


async def test_http_1_0_is_spoken(stack: Stack) -> None:
    answer, body = await _raw(stack, b"GET /v1/models HTTP/1.0")

    assert (answer.split()[1], json.loads(body)) == (b"200", {"object": "list", "data": []})


async def _raw(stack: Stack, head: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer."""
    host, port = stack.envoy.address.rsplit(":", 1)
    async with asyncio.timeout(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head + b"\r\n\r\n")
        answer, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return answer, body
