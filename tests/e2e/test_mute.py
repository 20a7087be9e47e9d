"""Parts that fall silent or die while requests wait: nobody is refused, and the others are not slowed down by it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.crowd import chat, crowd, traffic, words
from tests.e2e.doors import Doors, doors
from tests.e2e.pair import Pair
from tests.e2e.stack import Stack, eventually, free_port
from tests.faults import filled, kill, stopped

pytestmark = pytest.mark.e2e

MODEL = "slow"
NARROW = "narrow"  # has no queue
SLOTS, QUEUE, LANES = 2, 2, 16
BODY = chat(MODEL, "tokens=5 delay_ms=100")
SERVICE_SECONDS = 0.5
# Until Envoy has seen that a connection is dead, and then its turn at the other replica.
LONGEST_SECONDS = 10 + 4
STOPPED_SECONDS = 14


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two workers with one small replica each, and all the time in the world until one counts as hung."""
    stack = Stack(tmp_path_factory.mktemp("mute") / "home", free_port())
    stack.write_model(MODEL, parallel=SLOTS, max_queue=QUEUE)
    stack.write_model(NARROW, parallel=SLOTS, max_queue=0)
    stack.up("--routers", "2", WEFT_AUTO_APPROVE_NODES="true", WEFT_EXPOSE_NODE_HEADER="true")
    with stack.second_worker("two") as two:
        made = Pair(stack, two)
        made.ensure(MODEL)
        yield made
    stack.leave()


def test_a_stopped_replica_under_load_fails_nobody_and_the_other_one_goes_on_at_full_speed(
    pair: Pair,
) -> None:
    part = pair.ensure(MODEL)["two"]
    with traffic(pair.stack, BODY, lanes=LANES) as asked:
        assert asked.goes_on(LANES)
        with stopped(part):
            began, before = time.monotonic(), len(asked.answers)
            eventually(lambda: time.monotonic() - began > STOPPED_SECONDS, what="time", seconds=20)
            served = len(asked.answers) - before
        assert asked.goes_on(2 * LANES)
    assert [(a.status, a.text if a.ok else a.body) for a in asked.failures] == []
    assert served > 0.8 * STOPPED_SECONDS * SLOTS / SERVICE_SECONDS
    assert max(asked.seconds) < LONGEST_SECONDS


async def test_a_gateway_that_is_stopped_waits_for_nothing_any_more(pair: Pair) -> None:
    pair.ensure(MODEL)
    first, second = pair.stack.parts("gateway-")
    # More than slots and queues hold: the rest waits.
    held, more = 2 * (SLOTS + QUEUE) + 12, 8
    async with (
        doors(pair.stack) as through,
        asking(through, pair, first.address, "tokens=200 delay_ms=100", count=held),
    ):
        await reached(through, pair, least=more)
        before = await settled(through, pair)
        async with asking(through, pair, second.address, "tokens=1", count=more):
            await reached(through, pair, least=before + more // 2)
            with stopped(second):
                await reached(through, pair, most=before)


@contextlib.asynccontextmanager
async def asking(through: Doors, pair: Pair, gateway: str, words: str, count: int) -> AsyncIterator[None]:
    """Ask so often at one gateway beside the block, and lose interest with it."""
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(through.chat(gateway, pair.stack.key, MODEL, words)) for _ in range(count)]
        yield
        for task in asked:
            task.cancel()


async def waiting(through: Doors, pair: Pair) -> int:
    return sum([await through.waiting(part.address, MODEL) for part in pair.stack.parts("router-")])


async def settled(through: Doors, pair: Pair) -> int:
    """How many wait once that changes no more."""
    count = -1
    async with asyncio.timeout(10):
        while count != (count := await waiting(through, pair)):
            await asyncio.sleep(0.5)
    return count


async def reached(through: Doors, pair: Pair, *, least: int = 0, most: int = 1000) -> None:
    """Wait until so many wait at routers."""
    async with asyncio.timeout(10):
        while not least <= await waiting(through, pair) <= most:
            await asyncio.sleep(0.05)


def test_a_replica_that_is_killed_with_waiters_costs_nobody_an_answer(pair: Pair) -> None:
    part = pair.ensure(MODEL)["two"]
    with crowd(pair.stack, [BODY] * 24) as asked:
        eventually(lambda: pair.stack.waiting(MODEL) > 10, what="a queue")
        kill(part)
    assert [(a.status, a.body) for a in asked.answers if not a.ok] == []
    assert [a.text for a in asked.answers] == [words(5)] * len(asked.answers)


def test_a_replica_that_was_full_takes_what_its_fallback_was_killed_with(pair: Pair, tmp_path: Path) -> None:
    replicas = pair.ensure(NARROW)
    pair.wait_until_idle(*replicas.values())
    gate, one_of_each = tmp_path / "gate", 2
    with contextlib.ExitStack() as full:
        # Its agent may not tell how full it is, or nobody would be sent there.
        full.enter_context(stopped(pair.agent("two")))
        room = full.enter_context(contextlib.ExitStack())
        room.enter_context(filled(pair.door(replicas["two"])))
        with crowd(pair.stack, [chat(NARROW, f"tokens=2 gate_file={gate}")] * one_of_each) as asked:
            eventually(lambda: pair.door(replicas["local"]).busy()[0] == one_of_each, what="both at one")
            room.close()
            kill(replicas["local"])
            eventually(lambda: pair.door(replicas["two"]).busy()[0] == one_of_each, what="both at the other")
            gate.touch()
    assert [(a.status, a.text) for a in asked.answers] == [(200, words(2))] * one_of_each
    assert sorted(pair.attempts(asked.answers)) == [2, 3]


def test_a_bus_that_is_lost_with_waiters_costs_nobody_an_answer(pair: Pair) -> None:
    pair.ensure(MODEL)
    with crowd(pair.stack, [BODY] * 28) as asked:
        eventually(lambda: pair.stack.waiting(MODEL) > 10, what="a queue")
        with stopped(pair.stack.part("nats")):
            asked.join()
    assert [(a.status, a.body) for a in asked.answers if not a.ok] == []
