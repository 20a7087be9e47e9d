"""Bodies that are announced by whoever has no key, or that are too large by their own word: told at once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
import pytest_asyncio

from tests.envoy.stack import BODY_LIMIT, DEADLINE_SECONDS, Envoy, Stack, free_port, running_envoy
from tests.envoy.uploads import announced_over_http2, body, upload
from weft_common.dialects import dialect_of
from weft_common.errors import BodyTooLarge
from weft_gateway.answers import refuse_rest

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024
LIMIT = 24 * MIB
# More than there are places for; the fewest are for large ones: 2.
CROWD = 12
# Of untold length, as many as there are places for.
NODES = 6
CHAT = "/v1/chat/completions"
REFUSAL = '{"error": {"message": "who are you?"}}'
STRANGER = json.dumps(
    {"stranger": {"status": 401, "headers": {"content-type": "application/json"}, "body": REFUSAL}}
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def envoy(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Envoy]:
    """One that has little room: 2 bodies of 10 MB, 4 of 1 MB, 48 of untold length."""
    async with running_envoy(
        tmp_path_factory.mktemp("strangers"),
        stack.router.port,
        stack.gateway.port,
        body_limit_bytes=LIMIT,
        max_heap_bytes=480 * MIB,
    ) as small:
        yield small


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/api/chat", "/v1/rerank"])
@pytest.mark.parametrize("size", [20_000_000, 1_000_000, None])
async def test_who_has_no_key_takes_nobodys_place(envoy: Envoy, path: str, size: int | None) -> None:
    async with contextlib.AsyncExitStack() as stack:
        crowd = [
            await stack.enter_async_context(upload(envoy, path, size, check=STRANGER)) for _ in range(CROWD)
        ]
        for each in crowd:
            await each.send(b"{" if size else b"1\r\n{\r\n")
        answers = [await each.answer() for each in crowd]
        assert answers == [(401, REFUSAL.encode())] * CROWD
        async with httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client:
            served = await client.post(path, content=body(11_000_000, ("send", "{}")))
        assert served.status_code == 200


async def test_only_what_is_counted_is_asked_about_twice(envoy: Envoy, stack: Stack) -> None:
    async def asked(content: bytes | AsyncIterator[bytes]) -> list[tuple[str, bool]]:
        before = len(stack.gateway.checks)
        async with httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client:
            assert (await client.post(CHAT, content=content)).status_code == 200
        checks = [check.attributes for check in stack.gateway.checks[before:]]
        return [
            (each.context_extensions.get("only", ""), bool(each.request.http.raw_body)) for each in checks
        ]

    once, twice = [("", True)], [("key", False), ("", True)]
    assert await asked(body(999_999, ("send", "{}"))) == once
    assert await asked(body(1_000_000, ("send", "{}"))) == twice
    assert await asked(_pieces(body(1_000, ("send", "{}")))) == twice


async def test_a_message_of_an_rpc_is_asked_about_once_as_it_tells_no_length(stack: Stack) -> None:
    before = len(stack.gateway.checks)
    await stack.rpc(("who",), padding="x" * (BODY_LIMIT // 2)).read()
    assert len(stack.gateway.checks) == before + 1


@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/messages", "/api/generate", "/v2/rerank"])
async def test_what_is_too_large_by_its_own_word_is_told_before_it_comes(envoy: Envoy, path: str) -> None:
    async with upload(envoy, path, LIMIT + 1) as huge:
        status, said = await huge.answer()
    error = BodyTooLarge(f"The request's body is larger than the limit of {LIMIT} bytes.")
    assert (status, _without_id(said)) == (413, _told(path, error))


async def test_nodes_whose_tokens_come_last_announce_small_bodies_only(envoy: Envoy) -> None:
    async with upload(envoy, "/api/node/register", 1_000_000) as large:
        status, said = await large.answer()
    assert (status, orjson.loads(said)["message"]) == (413, "Bodies of nodes have less than 1000000 bytes.")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/show", 401),
        ("/api/nodes/scheduling", 401),
        ("/api/pull", 401),
        ("/nowhere", 404),
        ("/v1/models", 405),
    ],
)
async def test_nobody_waits_for_the_body_of_what_needs_none(envoy: Envoy, path: str, status: int) -> None:
    async with upload(envoy, path, None, check=STRANGER) as stranger:
        assert (await stranger.answer())[0] == status


async def test_nodes_that_tell_no_length_take_places_of_their_own(envoy: Envoy) -> None:
    path = "/api/node/register"
    async with contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(upload(envoy, path, None)) for _ in range(NODES)]
        for each in crowd:
            await each.send(b"1\r\n{\r\n")
        await _refused_for_room(envoy, path)
        async with httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client:
            assert (await client.post(path, json={"name": "n"})).status_code == 201
            for others in ("/api/chat", "/v1/chat/completions"):
                served = await client.post(others, content=_pieces(body(1_000, ("send", "{}"))))
                assert served.status_code == 200
    too_large = _pieces(b'{"name": "' + b"x" * 1_000_000 + b'"}')
    async with httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client:
        answer = await client.post(path, content=too_large)
    assert (answer.status_code, answer.json()["message"]) == (
        413,
        "Bodies of nodes have less than 1000000 bytes.",
    )


@pytest.mark.parametrize(("length", "status"), [(20_000_000, "16"), (LIMIT + 1, "8")])
async def test_an_rpc_that_announces_a_length_is_told_as_early(
    envoy: Envoy, length: int, status: str
) -> None:
    refused = {"grpc-status": "16", "content-type": "application/grpc"}
    wish = {"stranger": {"status": 200, "headers": refused, "body": ""}}
    headers = await announced_over_http2(
        envoy,
        "/weft.inference.v1.InferenceService/Chat",
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("content-length", str(length)),
        ("check", json.dumps(wish)),
    )
    assert (headers[":status"], headers["grpc-status"]) == ("200", status)


async def test_over_http2_it_is_told_before_it_comes_too(envoy: Envoy) -> None:
    length = ("content-length", str(LIMIT + 1))
    assert (await announced_over_http2(envoy, CHAT, length))[":status"] == "413"


async def test_without_a_gateway_it_is_an_outage(stack: Stack, tmp_path: Path) -> None:
    async with (
        running_envoy(tmp_path, stack.router.port, free_port(), body_limit_bytes=LIMIT) as lonely,
        upload(lonely, CHAT, 20_000_000) as large,
    ):
        status, said = await large.answer()
    assert (status, orjson.loads(said)["error"]["code"]) == (503, "part_unavailable")


async def _refused_for_room(envoy: Envoy, path: str) -> None:
    """Until the places are taken, one more gets in and waits for its body: then it is asked again."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            async with httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client:
                if (await client.post(path, content=_pieces(b"{}"))).status_code == 503:
                    return


async def _pieces(whole: bytes) -> AsyncIterator[bytes]:
    yield whole


def _told(path: str, error: BodyTooLarge) -> dict[str, object]:
    refusal = refuse_rest(error, dialect_of(path, {})).denied_response
    return _without_id(refusal.body)


def _without_id(told: str | bytes) -> dict[str, object]:
    return {key: value for key, value in orjson.loads(told).items() if key not in ("id", "request_id")}
