"""Every dialect's paths: where they go, and how Envoy itself tells its failures there."""

import json
from typing import Any

import grpc
import httpx
import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody

from tests.envoy.stack import BODY_LIMIT, DEADLINE_SECONDS, Stack, free_port, running_envoy
from weft_common.dialect_errors import error_body
from weft_common.dialects import Dialect, dialect_of
from weft_common.errors import (
    BodyTooLarge,
    InternalError,
    InvalidApiKey,
    InvalidRequest,
    MethodNotSupported,
    PartUnavailable,
    WeftError,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATHS = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/tokenize",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/v1/rerank",
    "/v2/rerank",
]
# One for each dialect but our own.
SHAPES = ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/rerank", "/v2/rerank"]


assert {dialect_of(path, {}) for path in SHAPES} == set(Dialect) - {Dialect.WEFT}


def told(path: str, error: WeftError, answer: httpx.Response) -> object:
    """The body that a dialect has for a failure."""
    return orjson.loads(error_body(dialect_of(path, {}), error, answer.headers["x-request-id"]))


async def asked(stack: Stack, path: str, *steps: tuple[object, ...], **more: Any) -> httpx.Response:
    body = {"model": "m", "steps": {"*": steps}}
    return await (more.pop("client", None) or stack.http1).post(path, json=body, **more)


@pytest.mark.parametrize("path", PATHS)
async def test_a_dialects_path_reaches_the_replica_that_check_picked(stack: Stack, path: str) -> None:
    answer = await asked(stack, path, ("send", '{"a": null}'))

    assert (answer.status_code, answer.text) == (200, '{"a": null}')
    assert stack.gateway.checks[-1].attributes.request.http.raw_body == stack.primary.calls[-1].body


@pytest.mark.parametrize("path", PATHS)
async def test_its_wrong_method_is_405_in_its_words(stack: Stack, path: str) -> None:
    answer = await stack.http1.get(path)

    error = MethodNotSupported(f"Not allowed to GET on {path}. Perhaps you meant another HTTP method?")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == told(path, error, answer)


@pytest.mark.parametrize("path", PATHS)
async def test_its_body_over_the_limit_is_413_in_its_words(stack: Stack, path: str) -> None:
    answer = await stack.http1.post(path, content=b"x" * (BODY_LIMIT + 1))

    error = BodyTooLarge(f"The request's body is larger than the limit of {BODY_LIMIT} bytes.")
    assert (answer.status_code, answer.json()) == (413, told(path, error, answer))


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("INVALID_ARGUMENT", InvalidRequest),
        ("UNAUTHENTICATED", InvalidApiKey),
        ("INTERNAL", InternalError),
    ],
)
async def test_an_error_without_words_in_a_dialect_gets_them(
    stack: Stack, path: str, code: str, error: type[WeftError]
) -> None:
    answer = await asked(stack, path, ("abort", code, 'a "b"', {}))

    expected = orjson.loads(error_body(dialect_of(path, {}), error('a "b"'), answer.headers["x-request-id"]))
    if "error" in expected and "code" in expected["error"]:
        expected["error"]["code"] = None  # a bare status has no reason
    expected.pop(
        "id", None
    )  # and the id of a request is told by replicas and gateways only, but for Anthropic's
    assert (answer.status_code, answer.json()) == (error.http_status, expected)


async def test_without_a_gateway_every_dialect_says_so_in_its_words(stack: Stack, tmp_path: Any) -> None:
    error = PartUnavailable("No gateway answers. Try again shortly.")
    async with (
        running_envoy(tmp_path, stack.router.port, free_port()) as envoy,
        httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client,
    ):
        for path in SHAPES:
            answer = await asked(stack, path, client=client)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json() == told(path, error, answer)


async def test_anthropics_answers_have_its_request_id(stack: Stack) -> None:
    answers = [
        await asked(stack, "/v1/messages", ("send", "{}")),
        await asked(stack, "/v1/messages", ("abort", "INTERNAL", "", {})),
        await stack.http1.get("/v1/models", headers={"anthropic-version": "2023-06-01"}),
        await stack.http1.get("/v1/messages"),
    ]
    for answer in answers:
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
        assert "openai-processing-ms" not in answer.headers
    assert answers[1].json()["request_id"] == answers[1].headers["request-id"]


async def test_openais_answers_say_how_long_they_took(stack: Stack) -> None:
    answers = [
        await asked(stack, "/v1/chat/completions", ("wait", 0.1), ("send", "{}")),
        await asked(stack, "/v1/embeddings", ("wait", 0.1), ("abort", "INTERNAL", "", {})),
    ]
    for answer in answers:
        assert 100 <= int(answer.headers["openai-processing-ms"]) < 1000 * DEADLINE_SECONDS
        assert "request-id" not in answer.headers
    assert (await stack.http1.get("/v1/models")).headers["openai-processing-ms"].isdigit()


async def test_lists_tell_failures_in_the_words_of_who_asks(stack: Stack) -> None:
    answer = await stack.http1.get("/v1/models/missing", headers={"anthropic-version": "2023-06-01"})

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_ollamas_clients_are_greeted(stack: Stack, method: str) -> None:
    answer = await stack.http1.request(method, "/")

    assert (answer.status_code, answer.text) == (200, "Ollama is running" if method == "GET" else "")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/api/tags", "/api/ps", "/api/version"])
async def test_ollamas_clients_may_only_look(stack: Stack, path: str) -> None:
    answer = await stack.http1.head(path)

    assert (answer.status_code, answer.content) == (200, b"")


async def test_who_only_looks_for_the_models_needs_a_key(stack: Stack) -> None:
    answer = await stack.http1.head("/v1/models")
    assert (answer.status_code, answer.content) == (200, b"")
    deny = {"deny": {"status": 401, "headers": {}, "body": "no"}}
    refused = await stack.http1.head("/v1/models", headers={"check": json.dumps(deny)})
    assert (refused.status_code, refused.content) == (401, b"")


@pytest.mark.parametrize("path", ["/api/pull", "/api/delete", "/api/blobs/sha256:00"])
async def test_what_there_is_no_library_for_is_checks_to_refuse(stack: Stack, path: str) -> None:
    deny = {"deny": {"status": 400, "headers": {}, "body": "no"}}
    answer = await stack.http1.request("DELETE", path, headers={"check": json.dumps(deny)})

    assert (answer.status_code, answer.text) == (400, "no")


async def test_a_dialect_can_be_spoken_over_grpc(stack: Stack) -> None:
    path = "/weft.dialect.v1.OllamaService/Chat"
    method = stack.channel.unary_stream(path, HttpBody.SerializeToString, HttpBody.FromString)
    body = {"steps": {"*": [("send", "a", "x/y"), ("send", "b")]}}

    call = method(HttpBody(data=json.dumps(body).encode()), metadata=(("check", "{}"),))

    assert [frame.data async for frame in call] == [b"a", b"b"]
    assert await call.code() is grpc.StatusCode.OK
