"""Many large bodies at once: bounded in number and in bytes, and nobody else suffers."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import orjson
import psutil
import pytest
import pytest_asyncio

from tests.envoy.stack import DEADLINE_SECONDS, Envoy, Stack, running_envoy
from tests.envoy.uploads import body, upload
from weft_common.dialect_errors import error_body
from weft_common.dialects import dialect_of
from weft_common.errors import BodyTooLarge, NoCapacity

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024
# By the shares of its heap: 2 bodies of 10 MB or more, and 4 of 1 MB or more.
HEAP, LARGE, MEDIUM = 480 * MIB, 2, 4
SIZES = {"large": (10_000_000, LARGE), "medium": (1_000_000, MEDIUM)}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def envoy(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Envoy]:
    """One that has little room."""
    async with running_envoy(
        tmp_path_factory.mktemp("small"),
        stack.router.port,
        stack.gateway.port,
        body_limit_bytes=24 * MIB,
        max_heap_bytes=HEAP,
    ) as small:
        yield small


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v2/rerank"])
async def test_no_more_of_a_size_are_let_in_than_there_is_room_for(
    envoy: Envoy, path: str, kind: str
) -> None:
    size, count = SIZES[kind]
    whole = body(size, ("send", "{}"))
    async with contextlib.AsyncExitStack() as stack:
        inside = [await stack.enter_async_context(upload(envoy, path, size)) for _ in range(count)]
        for each in inside:
            await each.send(whole[:1])
        await _held(envoy, kind, count)
        refused = await stack.enter_async_context(upload(envoy, path, size))
        status, said = await refused.answer()
        error = NoCapacity("Too many large requests are here at once. Try again shortly.")
        told = orjson.loads(error_body(dialect_of(path, {}), error))
        assert status == 503
        assert _without_id(orjson.loads(said)) == _without_id(told)
        async with httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client:
            assert (await client.get("/v1/models")).status_code == 200
            small = await client.post(path, content=body(100_000, ("send", "{}")))
            assert small.status_code == 200, "what is small is not in their way"
        for each in inside:
            await each.send(whole[1:])
        assert [(await each.answer())[0] for each in inside] == [200] * count


async def test_a_replica_that_is_lost_does_not_cost_a_large_one(stack: Stack, envoy: Envoy) -> None:
    whole = {
        "steps": {str(stack.primary.port): [("abort", "UNAVAILABLE", "gone", {})], "*": [("who",)]},
        "padding": "x" * 23_000_000,
    }
    async with httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client:
        answer = await client.post("/v1/chat/completions", json=whole)
    assert answer.json() == {"port": stack.fallback.port}
    assert len(stack.fallback.calls[-1].body) > 23_000_000


async def test_one_that_left_makes_room(envoy: Envoy) -> None:
    for _ in range(2 * LARGE):
        async with upload(envoy, "/v1/chat/completions", SIZES["large"][0]) as gone:
            await gone.send(b"{")
            await _held(envoy, "large", 1)
        await _held(envoy, "large", 0)


async def test_a_flood_of_them_leaves_envoy_in_its_bounds(envoy: Envoy) -> None:
    size = 20 * MIB
    process, whole = psutil.Process(envoy.process.pid), body(size, ("send", "{}"))

    async def one(client: httpx.AsyncClient) -> int | str:
        try:
            return (await client.post("/v1/chat/completions", content=whole)).status_code
        except httpx.TransportError:
            return "cut"  # still sending when the refusal came

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=envoy.url, timeout=60, limits=limits) as client:
        seen = Counter(await asyncio.gather(*[one(client) for _ in range(30)]))
        assert (await client.get("/v1/models")).status_code == 200
    assert set(seen) <= {200, 503, "cut"}
    assert seen[200] >= 1
    assert process.memory_info().rss < HEAP


async def test_a_body_of_untold_length_may_be_medium_at_most(envoy: Envoy) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        whole = body(count * 1_000_000, ("send", "{}"))
        for start in range(0, len(whole), 1_000_000):
            yield whole[start : start + 1_000_000]

    async with httpx.AsyncClient(base_url=envoy.url, timeout=DEADLINE_SECONDS) as client:
        assert (await client.post("/api/chat", content=pieces(9))).status_code == 200
        answer = await client.post("/api/chat", content=pieces(11))
    error = BodyTooLarge(
        "A body that comes without a Content-Length may have 10000000 bytes, and this one has more:"
        " send its length ahead."
    )
    told = orjson.loads(error_body(dialect_of("/api/chat", {}), error))
    assert (answer.status_code, answer.json()) == (413, told)


async def _held(envoy: Envoy, kind: str, count: int) -> None:
    """Wait until so many of a size are there; Envoy can only be asked."""
    async with httpx.AsyncClient(base_url=envoy.admin) as admin, asyncio.timeout(DEADLINE_SECONDS):
        name = "http.public.downstream_rq_active"
        while True:
            text = (await admin.get("/stats", params={"filter": f"^{name}$"})).text
            if int(text.rpartition(":")[2]) == count:
                return
            await asyncio.sleep(0.02)


def _without_id(told: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in told.items() if key not in ("id", "request_id")}
