"""Wrong bodies at every path: right answers or refusals in the dialect's shape, and nothing broken or lost behind them.

`make fuzz` sends 10,000 to each; FUZZ_SEED=... FUZZ_COUNT=... repeat what a failure tells, FUZZ_NUMBER=... one body.
"""

import asyncio
import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.e2e.sdk.clients.calls import CAPITAL
from tests.e2e.stack import Stack, eventually, free_port
from tests.faults import ReplicaDoor
from tests.fuzz.bodies import CHAT, VECTORS
from tests.fuzz.frames import mutated_frame, right_messages
from tests.fuzz.mutation import mutated
from tests.fuzz.surfaces import SURFACES, Surface
from tests.minilm import minilm_gguf

COUNT = int(os.environ.get("FUZZ_COUNT", "200"))
SEED = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(2**32))
NUMBERS = [int(os.environ["FUZZ_NUMBER"])] if "FUZZ_NUMBER" in os.environ else range(COUNT)
LANES = 8
# Besides the obvious: 413 of what is too large, 422 of nobody.
REFUSALS = (400, 404, 413)
TINY = Path(__file__).parents[2] / "worker/weft_worker/models/weft-tiny.gguf"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120 + COUNT)]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose models answer in a moment whatever they are asked for: their context ends it."""
    made = Stack(tmp_path_factory.mktemp("fuzz") / "home", free_port())
    made.write_model(CHAT, "llama-cpp", parameters={"model": str(TINY)}, context_size=192, parallel=4)
    weights = {"model": str(minilm_gguf())}
    made.write_model(VECTORS, "llama-cpp", parameters=weights, embeddings=True, parallel=2, context_size=128)
    made.up()
    yield made
    made.leave()


@pytest.mark.parametrize("surface", SURFACES, ids=[each.path for each in SURFACES])
def test_no_body_does_harm(
    surface: Surface, fuzzed: Stack, record_property: Callable[[str, object], None]
) -> None:
    record_property("FUZZ_SEED", SEED)
    for body in surface.bodies[:1]:
        assert _status(fuzzed, surface, body) == 200, (
            "what is right has to be answered, or this shows nothing"
        )
    before = _processes(fuzzed)
    problems = asyncio.run(_ask_all(fuzzed, surface))
    assert not problems, "\n".join([f"FUZZ_SEED={SEED}", *problems[:8]])
    _check_unharmed(fuzzed, before)


RPCS = right_messages(CHAT, VECTORS)
TYPED = (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("rpc", RPCS)
def test_no_message_does_harm(
    rpc: str, fuzzed: Stack, record_property: Callable[[str, object], None]
) -> None:
    record_property("FUZZ_SEED", SEED)
    before = _processes(fuzzed)
    problems = []
    with grpc.insecure_channel(f"127.0.0.1:{fuzzed.port}") as channel, ThreadPoolExecutor(LANES) as lanes:
        call = channel.unary_stream(f"/weft.inference.v1.InferenceService/{rpc}")
        metadata = [("authorization", f"Bearer {fuzzed.key}")]

        def told(number: int) -> str:
            raw = mutated_frame(SEED, number, RPCS[rpc])
            try:
                list(answers := call(raw, metadata=metadata, timeout=60))
            except grpc.RpcError as error:
                refused: Any = error
                code, words = refused.code(), refused.details()
            else:
                code, words = answers.code(), ""
            return "" if code in TYPED else f"FUZZ_NUMBER={number} {code} {words}: {raw[:1000]!r}"

        problems = [problem for problem in lanes.map(told, NUMBERS) if problem]
    assert not problems, "\n".join([f"FUZZ_SEED={SEED}", *problems[:8]])
    _check_unharmed(fuzzed, before)


def test_they_still_answer(fuzzed: Stack) -> None:
    assert "Paris" in fuzzed.chat(CHAT, CAPITAL, temperature=0).text


async def _ask_all(stack: Stack, surface: Surface) -> list[str]:
    numbers = iter(NUMBERS)
    problems: list[str] = []

    async def lane(client: httpx.AsyncClient) -> None:
        for number in numbers:
            problem = await _problem(client, surface, mutated(SEED, number, surface.bodies))
            problems.extend([f"FUZZ_NUMBER={number} {problem}"] if problem else [])

    headers = {**stack.headers, "content-type": "application/json", "anthropic-version": "2023-06-01"}
    client = httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=60)
    async with client, asyncio.TaskGroup() as lanes:
        for _ in range(LANES):
            lanes.create_task(lane(client))
    return problems


async def _problem(client: httpx.AsyncClient, surface: Surface, body: bytes) -> str:
    """What was wrong with an answer, if anything."""
    told = f"{body[:1000]!r} ... {len(body)} bytes"
    try:
        answer = await client.post(surface.path, content=body)
    except httpx.HTTPError as error:
        return f"{error!r}: {told}"
    check = surface.answer if answer.status_code == 200 else surface.error
    if answer.status_code not in (200, *REFUSALS):
        return f"{answer.status_code} {answer.content[:500]!r}: {told}"
    try:
        check(answer.content, answer.headers["content-type"])
    except (AssertionError, ValueError, LookupError, TypeError) as error:
        return f"{answer.status_code} {answer.content[:500]!r} is not right ({error!r}): {told}"
    return ""


def _check_unharmed(stack: Stack, before: set[tuple[str, int]]) -> None:
    assert _processes(stack) == before
    for part in stack.parts("replica:"):
        door = ReplicaDoor(stack.home, part.address)
        eventually(lambda: door.busy() == (0, 0), what=f"the slots of {part.name} are free")  # noqa: B023
    unforeseen = stack.records("worker/local/log/*.log", "rpc_failed")
    assert not unforeseen, unforeseen[-1]


def _status(stack: Stack, surface: Surface, body: object) -> int:
    with stack.client() as client:
        return client.post(surface.path, content=json.dumps(body)).status_code


def _processes(stack: Stack) -> set[tuple[str, int]]:
    """Everything that must not have ended: a replica may be unloaded by what a body says, and comes back as another."""
    return {(part.name, part.pid) for part in stack.parts() if not part.name.startswith("replica:")}
