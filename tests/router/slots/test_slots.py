"""Slots at one router: handed out as replicas report them free, and never held by somebody who has left."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from weft_common.clock import ManualClock
from weft_common.errors import QueueFull, WaitTooLong
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_router.fleet.entities import Changes
from weft_router.slots.core.fair_queue import Claim
from weft_router.slots.metrics import SlotMetrics
from weft_router.slots.rules import QueueRules
from weft_router.slots.slots import Served, Slots

A, B = Claim("a"), Claim("b")
RULES = QueueRules(model_limit=100, total_limit=150, wait_seconds=60, silent_seconds=30)


class World:
    """One model with replicas of two slots each, and a router."""

    def __init__(self, *replicas: str, rules: QueueRules = RULES, queue: int = 0) -> None:
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        made = [replace(a_replica(i), slot_count=2, max_queue_count=queue) for i in replicas]
        self.fleet = a_fleet(a_node("one"), a_model("m"), a_model("n"), now=0)
        self.fleet.apply(Changes(sequence=5, replicas=tuple(made)), now=0)
        metrics = SlotMetrics(self.registry)
        self.slots = Slots(fleet=self.fleet, clock=self.clock, router_id="r-1", rules=rules, metrics=metrics)

    def report(self, replica: str = "x", busy: int = 0, seconds: int = 1, **work: int) -> None:
        """A replica has so many requests, and has seen every pick."""
        report = reports_pb2.LoadReport(node_id="n-one")
        entry = report.replicas.add(replica_id=replica, in_flight_count=busy)
        entry.picks.add(gateway_id="r-1", contiguous=10_000)
        for principal, finished in work.items():
            entry.works.add(
                principal=principal,
                finished_count=finished,
                generated_token_count=10 * finished,
                slot_ms=1000 * seconds * finished,
            )
        self.slots.report(report)

    def measure(self, seconds: int = 1) -> None:
        """Let it be known that requests take so long."""
        self.report(busy=2)
        self.report(busy=2, seconds=seconds, z=1)

    async def served(self, claim: Claim = A, model: str = "m", max_wait: float = 60) -> Served | None:
        return await self.slots.acquire(model, claim, max_wait)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"model": "m", **labels})


async def begun(call: Awaitable[Served | None]) -> "asyncio.Task[Served | None]":
    """Start a call and let it get as far as it can."""
    task = asyncio.ensure_future(call)
    await settled()
    return task


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_free_slots_are_handed_out_at_once_and_numbered() -> None:
    world = World("x")
    first, second = await world.served(), await world.served(B)
    assert first is not None
    assert second is not None
    assert (first.grant.number, second.grant.number) == (1, 2)
    assert (first.grant.replica.id, first.grant.fallback, first.position) == ("x", None, 0)


async def test_a_full_model_makes_wait_until_a_replica_reports_an_end() -> None:
    world = World("x")
    world.report(busy=2)
    waiting = await begun(world.served())
    assert not waiting.done()
    assert world.slots.waiting() == {"m": 1}
    world.report(busy=1)
    served = await waiting
    assert served is not None
    assert world.slots.waiting() == {}


async def test_slots_go_round_and_the_second_replica_is_the_fallback() -> None:
    world = World("x", "y")
    served = [await world.served() for _ in range(4)]
    assert sorted(s.grant.replica.id for s in served if s) == ["x", "x", "y", "y"]
    assert all(s and s.grant.fallback and s.grant.fallback != s.grant.replica for s in served)


async def test_a_grant_that_no_report_covers_holds_its_slot() -> None:
    world = World("x")
    world.report(busy=1)
    assert await world.served() is not None
    waiting = await begun(world.served(B))
    assert not waiting.done()
    waiting.cancel()


async def test_whoever_leaves_waits_no_more_and_passes_what_he_got_on() -> None:
    world = World("x")
    world.report(busy=2)
    first, second, third = [await begun(world.served(c)) for c in (A, B, A)]
    first.cancel()
    await settled()
    assert world.slots.waiting() == {"m": 2}
    world.report(busy=1)  # the second has it, and leaves before it hears of it
    second.cancel()
    await settled()
    assert third.done()
    assert world.slots.waiting() == {}


async def test_equals_take_turns() -> None:
    world = World("x")
    world.report(busy=2)
    order: list[str] = []

    async def ask(claim: Claim) -> None:
        await world.served(claim)
        order.append(claim.principal)

    tasks = [await begun(ask(c)) for c in (A, A, A, B, B, B)]  # type: ignore[arg-type]
    for _ in tasks:
        world.report(busy=1, **Counter(order))
        await settled()
    assert "".join(order) == "ababab"


async def test_without_a_ready_replica_waiters_are_told_to_have_one_loaded() -> None:
    assert await World().served() is None
    world = World("x")
    world.report(busy=2)
    waiting = await begun(world.served())
    world.fleet.apply(Changes(sequence=9, gone_replicas=("x",)), now=0)
    world.slots.stir()
    assert await waiting is None


async def test_a_new_replica_ends_the_wait() -> None:
    world = World("x")
    world.report(busy=2)
    waiting = await begun(world.served())
    world.fleet.apply(Changes(sequence=9, replicas=(replace(a_replica("y"), slot_count=1),)), now=0)
    world.slots.stir()
    served = await waiting
    assert served is not None
    assert served.grant.replica.id == "y"


async def test_what_would_take_too_long_is_refused_at_once_with_a_computed_time() -> None:
    world = World("x")
    world.measure()
    waiting = [await begun(world.served()) for _ in range(10)]
    with pytest.raises(WaitTooLong) as refusal:
        await world.served(max_wait=2)
    # Ten go before it, two at a time, a second each; then it is its turn.
    assert refusal.value.retry_after is not None
    assert refusal.value.retry_after.total_seconds() == pytest.approx(5.5 - 2)
    assert world.metric("weft_queue_refused_total", reason="WAIT_TOO_LONG") == 1
    for task in waiting:
        task.cancel()


async def test_whoever_is_next_for_a_slot_waits_however_long_requests_take() -> None:
    world = World("x")
    world.measure(seconds=300)
    next_ones = [await begun(world.served()) for _ in range(2)]
    with pytest.raises(WaitTooLong):
        await world.served()
    world.report(busy=0, seconds=300, z=3)
    assert all([await task for task in next_ones])


async def test_at_the_deadline_the_wait_is_over() -> None:
    world = World("x")
    world.report(busy=2)
    with pytest.raises(WaitTooLong):
        await world.served(max_wait=0)
    assert world.slots.waiting() == {}


async def test_in_a_full_queue_the_newest_of_the_largest_crowd_gives_way() -> None:
    world = World("x", rules=replace(RULES, model_limit=3))
    world.measure()
    crowd = [await begun(world.served()) for _ in range(3)]
    with pytest.raises(QueueFull):
        await world.served()
    other = await begun(world.served(B))
    assert not other.done()
    with pytest.raises(QueueFull, match="3 requests wait for 'm'") as refusal:
        await crowd[2]
    assert refusal.value.retry_after is not None
    assert [task.done() for task in crowd] == [False, False, True]
    for task in (*crowd[:2], other):
        task.cancel()


async def test_the_bound_of_all_queues_holds_over_models() -> None:
    world = World("x", rules=replace(RULES, total_limit=2))
    world.fleet.apply(
        Changes(sequence=9, replicas=(replace(a_replica("y"), model="n", slot_count=1),)), now=0
    )
    world.report(busy=2)
    world.report("y", busy=1)
    crowd = [await begun(world.served()) for _ in range(2)]
    other = await begun(world.served(B, model="n"))
    assert [task.done() for task in crowd] == [False, True]
    with pytest.raises(QueueFull):
        await crowd[1]
    assert world.slots.waiting() == {"m": 1, "n": 1}
    crowd[0].cancel()
    other.cancel()


async def test_a_little_more_than_the_slots_is_handed_out_where_requests_are_short() -> None:
    world = World("x", queue=8)
    world.measure()
    assert await world.served(max_wait=0.1) is not None  # a second each: one ahead, within 50 ms
    with pytest.raises(WaitTooLong):
        await world.served(max_wait=0.1)


async def test_without_reports_slots_are_freed_at_the_measured_pace() -> None:
    world = World("x")
    world.report(busy=0)
    for _ in range(2):
        await world.served()
    waiting = await begun(world.served(B))
    world.clock.advance(0.95)  # a second each, for want of a measurement
    world.slots.stir()
    await settled()
    assert not waiting.done()
    world.clock.advance(0.1)
    world.slots.stir()
    assert await waiting is not None


async def test_waits_are_measured() -> None:
    world = World("x")
    await world.served()
    world.report(busy=2)
    waiting = await begun(world.served())
    assert world.metric("weft_queue_waiting") == 1
    world.clock.advance(3)
    world.report(busy=1)
    served = await waiting
    assert served is not None
    assert served.waited == 3
    assert world.metric("weft_queue_waiting") == 0
    assert world.metric("weft_queue_wait_seconds_count") == 2
    assert world.metric("weft_queue_wait_seconds_sum") == 3


async def test_a_model_that_is_gone_is_forgotten() -> None:
    world = World("x")
    await world.served()
    world.fleet.apply(Changes(sequence=9, gone_replicas=("x",), gone_models=("m",)), now=0)
    world.slots.stir()
    assert world.metric("weft_queue_wait_seconds_count") is None


async def test_one_that_falls_mute_while_others_report_keeps_its_grants_and_gets_no_more() -> None:
    world = World("x", "y")
    world.report("x")
    world.report("y")
    served = [await world.served() for _ in range(4)]
    assert Counter(s.grant.replica.id for s in served if s) == {"x": 2, "y": 2}
    waiting = [await begun(world.served()) for _ in range(3)]
    for _ in range(8):  # a second each, in which y gets one done and x says nothing
        world.clock.advance(1)
        world.report("y", busy=2)
        world.slots.stir()
        await settled()
    assert not any(task.done() for task in waiting), "x was taken to be idle"
    world.report("y", busy=1)
    await settled()
    assert [s.grant.replica.id for task in waiting if task.done() and (s := task.result())] == ["y"]
    world.report("x")
    await settled()
    assert [s.grant.replica.id for task in waiting[1:] if (s := await task)] == ["x", "x"]


async def test_while_no_reports_come_grants_are_taken_to_end_at_the_pace_of_service() -> None:
    world = World("x")
    world.measure()
    world.report()
    assert all([await world.served() for _ in range(2)])
    waiting = await begun(world.served())
    world.clock.advance(2.5)
    world.slots.stir()
    assert await waiting is not None


async def test_what_a_report_frees_has_another_replica_to_fall_back_on() -> None:
    world = World("x", "y", "z")
    for replica in ("x", "y", "z"):
        world.report(replica, busy=2)
    waiting = [await begun(world.served()) for _ in range(3)]
    for replica in ("x", "y", "z"):
        world.report(replica, busy=1)
    grants = [served.grant for task in waiting if (served := await task)]
    assert [g.replica.id for g in grants] == ["x", "y", "z"]
    assert all(g.fallback and g.fallback.id != g.replica.id for g in grants)


async def test_a_replica_that_comes_while_others_are_full_is_for_those_who_wait_already() -> None:
    world = World("x")
    world.report(busy=2)
    first = await begun(world.served())
    world.fleet.apply(Changes(sequence=9, replicas=(replace(a_replica("y"), slot_count=1),)), now=0)
    second = await begun(world.served(B))
    assert not second.done(), "it went before the one who waits"
    world.slots.stir()
    await settled()
    assert (first.done(), second.done()) == (True, False)
    second.cancel()
