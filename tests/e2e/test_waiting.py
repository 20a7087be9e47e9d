"""More requests than slots: fair by principal over all gateways, bounded in time and number, and healed from faults."""

import asyncio
import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.crowd import ask_all, chat, crowd
from tests.e2e.doors import Doors, Reply, doors
from tests.e2e.stack import NO_TLS, Part, Stack, eventually, free_port
from tests.faults import ReplicaDoor, kill, stopped

pytestmark = pytest.mark.e2e

MODEL = "busy"
# Nobody knows how long its requests take, so that none is sent ahead to a replica whose slots are taken.
UNMEASURED = "unmeasured"
SLOTS = 8
SHARED_SECONDS = 14
# Name, weight, priority; a principal's key is its name.
PRINCIPALS = (
    ("long", 1, 0),
    ("short", 1, 0),
    ("double", 2, 0),
    ("burst", 1, 0),
    ("single", 1, 0),
    ("vip", 1, 5),
)
_RESOURCE_EXHAUSTED = 8


@pytest.fixture(scope="module")
def queues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of three gateways and two routers, with principals to share eight slots."""
    made = Stack(tmp_path_factory.mktemp("waiting") / "home", free_port())
    for name in (MODEL, UNMEASURED):
        made.write_model(name, parallel=SLOTS, max_queue=64, context_size=1_000_000)
    made.up("--gateways", "3", "--routers", "2", WEFT_QUEUE_WAIT="60s", WEFT_DEBUG_HEADERS="true")
    with (made.home / "keys.yaml").open("a") as file:
        for name, weight, priority in PRINCIPALS:
            digest = hashlib.sha256(name.encode()).hexdigest()
            file.write(f"  - {{name: {name}, sha256: {digest}, weight: {weight}, priority: {priority}}}\n")
    eventually(lambda: ask_all_as(made, "vip") == 200, what="new keys", seconds=20)
    eventually(lambda: ask_all_as(made, "vip") == 200, what="the model", seconds=20)
    time.sleep(1.5)  # every gateway looks at the file once a second
    yield made
    made.leave()


def ask_all_as(stack: Stack, key: str) -> int:
    with crowd(stack, [chat(MODEL, "tokens=1")], key=key) as asked:
        pass
    return asked.answers[0].status


class Lanes:
    """Principals that ask again as soon as they are answered. State: what came of it, and the longest wait."""

    def __init__(self, through: Doors, until: float) -> None:
        self.tokens: Counter[str] = Counter()
        self.refusals: list[Reply] = []
        self.longest = 0.0
        self._doors = through
        self._until = until
        self._gateways = itertools.cycle(through.gateways)

    async def run(self, name: str, words: str, timeout: str = "") -> None:
        while (began := time.monotonic()) < self._until:
            reply = await self._doors.chat(next(self._gateways), name, MODEL, words, timeout)
            self.longest = max(self.longest, time.monotonic() - began)
            if reply.refusal:
                self.refusals.append(reply)
                await asyncio.sleep(0.1)
            elif time.monotonic() < self._until:
                self.tokens[name] += reply.tokens


async def test_tokens_are_shared_by_weight_whatever_the_length_of_requests(queues: Stack) -> None:
    async with doors(queues) as through:
        lanes = Lanes(through, time.monotonic() + SHARED_SECONDS)
        async with asyncio.TaskGroup() as tasks:
            # 48 requests at a time for 8 slots, and more of each principal than there are slots.
            for _ in range(16):
                tasks.create_task(lanes.run("long", "tokens=24 delay_ms=30"))
                tasks.create_task(lanes.run("short", "tokens=4 delay_ms=30"))
                tasks.create_task(lanes.run("double", "tokens=8 delay_ms=30"))
    total = lanes.tokens.total()
    assert lanes.refusals == []
    assert total > SHARED_SECONDS * SLOTS / 0.03 * 0.6, "the slots stood empty"
    both = lanes.tokens["long"] + lanes.tokens["short"]
    assert lanes.tokens["long"] / both == pytest.approx(0.5, abs=0.05)
    assert lanes.tokens["double"] / total == pytest.approx(0.5, abs=0.05)


async def goodput(through: Doors, lane_count: int, seconds: float) -> tuple[float, Lanes]:
    """Tokens a second that so many lanes get, each of which waits for a second at most."""
    lanes = Lanes(through, time.monotonic() + seconds)
    async with asyncio.TaskGroup() as tasks:
        for n in range(lane_count):
            tasks.create_task(lanes.run(("long", "short")[n % 2], "tokens=8 delay_ms=40", "1S"))
    return lanes.tokens.total() / seconds, lanes


async def test_five_times_the_load_gets_as_much_done_and_waits_no_longer_than_it_may(queues: Stack) -> None:
    async with doors(queues) as through:
        peak = max([(await goodput(through, lanes, 4))[0] for lanes in (SLOTS, SLOTS * 3 // 2)])
        before = memory(queues)
        overload, lanes = await goodput(through, SLOTS * 5, 6)
        left = await waiting_at(queues, through)
    assert overload >= 0.9 * peak
    assert lanes.refusals, "there was no overload"
    assert {reply.refusal for reply in lanes.refusals} == {_RESOURCE_EXHAUSTED}
    # A second of waiting, and then its own time in the slot.
    assert lanes.longest < 1 + 0.32 + 1
    assert memory(queues) < before * 1.1
    assert sum(left.values()) == 0


def test_a_burst_of_a_thousand_starves_no_single_request_and_leaves_nothing_behind(queues: Stack) -> None:
    body = chat(MODEL, "tokens=4 delay_ms=40")
    with crowd(queues, [body] * 1000, key="burst") as burst:
        eventually(lambda: sum(waiting(queues).values()) > 300, what="a queue")
        for name in ("single", "vip", "single", "vip", "single"):
            began = time.monotonic()
            assert ask_all_as(queues, name) == 200
            # A slot is free every 20 ms; whoever waits for all of the burst waits for twenty seconds.
            assert time.monotonic() - began < 2
        assert sum(waiting(queues).values()) > 50
        burst.leave()
    eventually(lambda: sum(waiting(queues).values()) == 0, what="nobody waits")
    (answer,) = ask_all(queues, [chat(MODEL, "tokens=1")])
    assert answer.ok


def test_whoever_looks_sees_who_waits(queues: Stack, tmp_path: Path) -> None:
    """By the command at any router, and in the metrics of the one where they wait."""
    gate = tmp_path / "gate"
    body = chat(UNMEASURED, f"tokens=1 gate_file={gate}")
    queues.load(UNMEASURED, "local")
    with crowd(queues, [body] * 200, key="burst") as burst:
        # Nobody gets a slot until the gate opens: how many wait does not depend on how long the looking takes.
        waited = eventually(lambda: all_wait(queues, 200), what="all of them")
        with crowd(queues, [body] * 3, key="single") as single:
            eventually(lambda: queues.waiting(UNMEASURED) == waited + 3, what="three more")
            waits = {"burst": waited, "single": 3}
            queue = {"model": UNMEASURED, "waiting_count": waited + 3, "slot_count": SLOTS}
            eventually(lambda: told(queues) == (queue, waits), what="who waits", seconds=20)
            for _ in range(6):  # of whichever router Envoy asks
                assert queues.waiting(UNMEASURED) == waited + 3
            assert measured(queues, f'weft_queue_waiting{{model="{UNMEASURED}"}}') == waited + 3
            assert measured(queues, "weft_admission_waiting") >= waited + 3
            gate.touch()
    assert all(answer.ok for answer in (*burst.answers, *single.answers))
    assert measured(queues, f'weft_queue_wait_seconds_count{{model="{UNMEASURED}"}}') >= waited + 3
    assert not any(
        "burst" in line for name in queues.status()["metrics"] for line in metrics(queues, name)
    ), "principals are no labels: there may be any number of them"


def all_wait(stack: Stack, count: int) -> int:
    """How many wait at the routers, once all that were sent do or are at the replica."""
    waits = stack.waiting(UNMEASURED)
    return waits if waits > 50 and waits + queued(stack, UNMEASURED) == count else 0


def told(stack: Stack) -> tuple[dict[str, Any], dict[str, int]]:
    """What `weft queues` says of the one queue, and how many of each principal wait there, the most first."""
    (queue,) = json.loads(stack.weft("queues", "--json").stdout)["queues"]
    principals = {line["principal"]: line["waiting_count"] for line in queue["principals"]}
    assert list(principals.values()) == sorted(principals.values(), reverse=True)
    return {name: queue[name] for name in ("model", "waiting_count", "slot_count")}, principals


def measured(stack: Stack, metric: str) -> float:
    """A metric, added up over all parts."""
    lines = (line for name in stack.status()["metrics"] for line in metrics(stack, name))
    values = (line.rpartition(" ") for line in lines)
    return sum(float(value) for name, _, value in values if name == metric)


def metrics(stack: Stack, part: str) -> list[str]:
    text = httpx.get(stack.status()["metrics"][part], verify=NO_TLS).text
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_higher_priority_goes_first(queues: Stack, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    body = chat(MODEL, f"tokens=1 gate_file={gate}")
    with crowd(queues, [body] * (SLOTS * 8)) as working:
        eventually(lambda: sum(waiting(queues).values()) == SLOTS * 8 - queued(queues), what="all of them")
        before = sum(waiting(queues).values())
        with crowd(queues, [chat(MODEL, "tokens=1")], key="vip") as vip:
            eventually(lambda: sum(waiting(queues).values()) > before, what="one more")
            gate.touch()
    assert all(answer.ok for answer in (*working.answers, *vip.answers))
    position = int(vip.answers[0].headers["x-weft-queue-position"])
    assert position == 0
    positions = [int(answer.headers["x-weft-queue-position"]) for answer in working.answers]
    assert max(positions) > SLOTS
    assert max(int(answer.headers["x-weft-queue-wait-ms"]) for answer in working.answers) > 0


async def test_whichever_router_is_asked_the_owner_hands_out_the_slot(queues: Stack) -> None:
    routers = [part.address for part in ready_routers(queues)]
    async with doors(queues) as through:
        issuers = {
            model: {await through.slot_issuer(router, model) for router in routers}
            for model in (MODEL, UNMEASURED)
        }
    assert len(routers) == 2
    assert [len(found) for found in issuers.values()] == [1, 1]


def test_an_owner_that_is_killed_with_a_queue_loses_nobody(queues: Stack) -> None:
    with crowd(queues, [chat(MODEL, "tokens=8 delay_ms=40")] * 60) as asked:
        kill(owner(queues))
    assert [answer.status for answer in asked.answers if not answer.ok] == []
    eventually(lambda: len(ready_routers(queues)) == 2, what="both routers", seconds=20)


def test_an_owner_that_is_stopped_with_a_queue_costs_seconds(queues: Stack) -> None:
    began = time.monotonic()
    with crowd(queues, [chat(MODEL, "tokens=8 delay_ms=40")] * 60) as asked, stopped(owner(queues)):
        asked.join()
    assert [answer.status for answer in asked.answers if not answer.ok] == []
    assert time.monotonic() - began < 15  # 2.4 s of work, and two pings of the connection


def test_without_any_router_gateways_keep_the_order_themselves(queues: Stack) -> None:
    with stopped(*ready_routers(queues)):
        answers = ask_all(queues, [chat(MODEL, "tokens=8 delay_ms=40")] * 40)
    assert [answer.status for answer in answers if not answer.ok] == []
    eventually(lambda: ask_all_as(queues, "single") == 200, what="routers again")


def ready_routers(stack: Stack) -> list[Part]:
    return [part for part in stack.parts("router-") if part.state == "ready"]


def waiting(stack: Stack) -> dict[str, int]:
    """How many wait at each router."""

    async def ask() -> dict[str, int]:
        async with doors(stack) as through:
            return await waiting_at(stack, through)

    with asyncio.Runner() as runner:
        return runner.run(ask())


async def waiting_at(stack: Stack, through: Doors) -> dict[str, int]:
    return {r.name: await through.waiting(r.address, MODEL) for r in ready_routers(stack)}


def owner(stack: Stack) -> Part:
    """The router where the queue is, once there is one."""

    def found() -> str:
        counts = waiting(stack)
        name = max(counts, key=lambda router: counts[router])
        return name if counts[name] > 10 else ""

    name = eventually(found, what="a queue")
    return next(part for part in ready_routers(stack) if part.name == name)


def queued(stack: Stack, model: str = MODEL) -> int:
    """How many are at the replica, in slots or its own queue."""
    return sum(ReplicaDoor(stack.home, stack.part(f"replica:local/{model}").address).busy())


def memory(stack: Stack) -> int:
    """What routers and gateways hold, in bytes."""
    parts = (*stack.parts("router-"), *stack.parts("gateway-"))
    return sum(psutil.Process(part.pid).memory_info().rss for part in parts)
