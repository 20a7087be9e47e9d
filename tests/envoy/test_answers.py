"""What becomes of a replica's or router's answer on its way to the client."""

import contextlib
from pathlib import Path

import grpc
import httpx
import orjson
import pytest

from tests.envoy.stack import Stack, encoded, running_envoy
from weft_common.dialect_errors import openai_error_body
from weft_common.errors import ModelNotFound

pytestmark = pytest.mark.asyncio(loop_scope="session")

ERROR = {"error": {"message": "é", "type": "invalid_request_error", "param": None, "code": "x"}}


async def test_answer_keeps_its_bytes_and_content_type(stack: Stack) -> None:
    answer = await stack.chat(("send", '{"b": null,  "a": 1}', "application/json"))

    assert (answer.status_code, answer.headers["content-type"], answer.text) == (
        200,
        "application/json",
        '{"b": null,  "a": 1}',
    )


async def test_stream_arrives_event_by_event(stack: Stack) -> None:
    events = ["data: a\n\n", "data: [DONE]\n\n"]
    sse = "text/event-stream"
    steps = [("send", events[0], sse), ("wait", 0.2), ("send", events[1], sse)]
    body = {"steps": {"*": steps}}

    async with stack.http1.stream("POST", "/v1/chat/completions", json=body) as answer:
        chunks = [chunk async for chunk in answer.aiter_raw()]

    assert answer.headers["content-type"] == sse
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert chunks == [event.encode() for event in events]


async def test_rpc_streams_message_by_message(stack: Stack) -> None:
    call = stack.rpc(("send", "a"), ("wait", 0.05), ("send", "b"))

    assert [message.delta async for message in call] == ["a", "b"]


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_error_reaches_the_client_in_its_dialect(stack: Stack, protocol: str) -> None:
    refuse = ("abort", "NOT_FOUND", "grpc's words", {"x-weft-error": encoded(ERROR)})

    answer = await stack.chat(refuse, client=getattr(stack, protocol))

    assert (answer.status_code, answer.json()) == (404, ERROR)
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert [name for name in answer.headers if name.startswith(("grpc-", "x-weft-", "x-envoy-"))] == []


async def test_error_may_choose_a_status_that_grpc_cannot_say(stack: Stack) -> None:
    trailing = {"x-weft-error": encoded(ERROR), "x-weft-http-status": "413"}

    answer = await stack.chat(("abort", "INTERNAL", "", trailing))

    assert (answer.status_code, answer.json()) == (413, ERROR)


async def test_error_body_that_is_no_base64_is_left_out(stack: Stack) -> None:
    answer = await stack.chat(("abort", "INTERNAL", "the words", {"x-weft-error": "{}"}))

    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "the words")


async def test_grpc_error_without_words_in_a_dialect_gets_them(stack: Stack) -> None:
    answer = await stack.http1.get("/v1/models/missing")

    error = ModelNotFound('The model "missing" \\ does not exist')
    assert (answer.status_code, answer.json()) == (404, orjson.loads(openai_error_body(error)))


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("INVALID_ARGUMENT", 400, "invalid_request_error"),
        ("UNAUTHENTICATED", 401, "invalid_request_error"),
        ("PERMISSION_DENIED", 403, "permission_error"),
        ("INTERNAL", 500, "server_error"),
        ("UNIMPLEMENTED", 501, "server_error"),
    ],
)
async def test_grpc_codes_become_statuses_and_types(stack: Stack, code: str, status: int, kind: str) -> None:
    answer = await stack.chat(("abort", code, "why", {}))

    expected = {"error": {"message": "why", "type": kind, "param": None, "code": None}}
    assert (answer.status_code, answer.json()) == (status, expected)


async def test_rpc_error_keeps_status_and_details(stack: Stack) -> None:
    trailing = {"x-weft-error": encoded(ERROR), "grpc-status-details-bin": "details"}

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stack.rpc(("abort", "NOT_FOUND", "why", trailing)).read()

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "why")
    metadata = dict(caught.value.trailing_metadata() or ())
    assert metadata["grpc-status-details-bin"] == b"details"
    assert "x-weft-error" not in metadata


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_registration_answers_created(stack: Stack, protocol: str) -> None:
    client: httpx.AsyncClient = getattr(stack, protocol)

    answer = await client.post("/api/node/register", json={"name": "n"})

    assert (answer.status_code, answer.json()["node_token"]) == (201, "token of n")
    assert [name for name in answer.headers if name.startswith(("grpc-", "x-weft-"))] == []


@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_no_content_has_none(stack: Stack, protocol: str) -> None:
    client: httpx.AsyncClient = getattr(stack, protocol)

    empty = await client.post("/api/node/register", json={"name": "empty"})
    after = await client.post("/api/node/register", json={"name": "n"})

    assert (empty.status_code, empty.content, after.status_code) == (204, b"", 201)
    assert "content-type" not in empty.headers


async def test_typed_api_tells_errors_as_status(stack: Stack) -> None:
    answer = await stack.http1.post("/api/node/register", json={"name": "refused"})

    expected = {"code": 16, "message": "The registration token is wrong.", "details": []}
    assert (answer.status_code, answer.json()) == (401, expected)


def served(stack: Stack) -> dict[str, dict[str, str]]:
    """What Check says about the replicas that it picked."""
    first, second = stack.primary.address, stack.fallback.address
    return {"ok": {"x-weft-served": f"{first} node-a m#0@1,{second} node-b m#1@1"}}


async def test_who_served_goes_into_the_log_only(stack: Stack) -> None:
    answer = await stack.chat(("send", "{}"), check=served(stack))

    (line,) = await stack.log_lines(answer.headers["x-request-id"])
    assert [name for name in answer.headers if name.startswith("x-weft-")] == []
    assert (line["node"], line["replica"], line["upstream"]) == ("node-a", "m#0@1", stack.primary.address)


async def test_the_fallback_is_named_where_it_served(stack: Stack) -> None:
    steps = {str(stack.primary.port): [("abort", "UNAVAILABLE", "closing", {})], "*": [("send", "{}")]}

    answer = await stack.script(steps, check=served(stack))

    (line,) = await stack.log_lines(answer.headers["x-request-id"])
    assert (answer.status_code, line["node"], line["replica"]) == (200, "node-b", "m#1@1")


async def test_node_is_told_where_that_is_switched_on(stack: Stack, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as cleanup:
        envoy = await cleanup.enter_async_context(
            running_envoy(tmp_path, stack.router.port, stack.gateway.port, expose_node_header=True)
        )
        client = await cleanup.enter_async_context(httpx.AsyncClient(base_url=envoy.url))
        untrue = ("metadata", {"x-weft-node": "elsewhere"})
        answer = await stack.chat(untrue, ("send", "{}"), check=served(stack), client=client)

    assert answer.headers["x-weft-node"] == "node-a"
    assert "x-weft-served" not in answer.headers


async def test_log_names_the_request_and_no_secret(stack: Stack) -> None:
    secret = {"authorization": "Bearer sk-secret"}
    sent = {"steps": {"*": [("send", "prompted")]}}

    answer = await stack.http1.post("/v1/chat/completions?key=sk-secret", json=sent, headers=secret)

    (line,) = await stack.log_lines(answer.headers["x-request-id"])
    assert (line["principal"], line["path"], line["status"], line["attempts"]) == (
        "tester",
        "/v1/chat/completions",
        200,
        1,
    )
    assert "sk-secret" not in str(line)
    assert "prompted" not in str(line)


async def test_log_has_the_status_of_rpcs(stack: Stack) -> None:
    call = stack.rpc(("send", "a"))
    request_id = dict(await call.initial_metadata())["x-request-id"]
    assert [message.delta async for message in call] == ["a"]

    (line,) = await stack.log_lines(request_id)
    assert (line["route"], line["grpc_status"]) == ("inference", "0")
