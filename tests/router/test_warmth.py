"""Warmth: windows hold replicas, demand is noted and expected, and what happens says why."""

from dataclasses import replace
from math import inf

import pytest

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from tests.router.fake_store import FakeStore
from weft_common.clock import ManualClock
from weft_common.errors import PartUnavailable
from weft_router.fleet.demand import Asked, slot_at
from weft_router.fleet.entities import Changes, Model, Node, Replica
from weft_router.fleet.idleness import IdleRules
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow
from weft_router.fleet.windows import WarmWindow
from weft_router.warmth import Warmth

DAY = 86400.0
# 1970-02-01, 08:00 UTC.
EIGHT = 31 * DAY + 8 * 3600
MORNINGS = WarmWindow("0 8 * * *", 3600.0, 2)


class World:
    def __init__(self, *things: Node | Replica | Model | Policy, prewarm: bool = False) -> None:
        self.clock, self.store = ManualClock(now=EIGHT), FakeStore()
        self.store.wall = self.clock.wall
        self.fleet = a_fleet(*things, now=0.0, heard=EIGHT)
        self.warmth = Warmth(
            fleet=self.fleet, store=self.store, clock=self.clock, rules=IdleRules(), prewarm=prewarm
        )

    def least(self, wall: float) -> int:
        self.clock.now = wall
        self.warmth.open_windows()
        return self.fleet.snapshot().policy_of("m").min_replicas

    async def expected_at(self, wall: float) -> tuple[str, ...]:
        self.clock.now = wall
        await self.warmth.look_ahead()
        return self.warmth.wanted()

    def used(self, wall: float) -> None:
        self.clock.now = wall
        self.fleet.report("n-one", {"r-1": 0}, wall - 1)
        self.fleet.report("n-one", {"r-1": 1}, wall)
        list(self.warmth.steps(self.fleet.snapshot(), wall))
        self.fleet.report("n-one", {"r-1": 0}, wall)


def test_a_window_raises_the_minimum_while_it_is_open_and_never_lowers_it() -> None:
    world = World(Policy("m", min_replicas=1, warm_windows=(MORNINGS,)))
    assert [world.least(EIGHT + s) for s in (-1, 0, 3599, 3600, DAY)] == [1, 2, 2, 1, 2]
    high = World(Policy("m", min_replicas=3, warm_windows=(MORNINGS,)))
    assert high.least(EIGHT) == 3


def test_a_window_that_opened_while_no_router_ran_counts_at_once() -> None:
    assert World(Policy("m", warm_windows=(MORNINGS,))).least(EIGHT + 1800) == 2


def test_a_changed_policy_counts_at_the_next_look_and_a_clock_that_goes_back_as_well() -> None:
    world = World(Policy("m", warm_windows=(MORNINGS,)))
    assert world.least(EIGHT) == 2
    changed = Policy("m", warm_windows=(replace(MORNINGS, min_replicas=4),))
    world.fleet.apply(Changes(sequence=2, policies=(changed,)))
    assert world.least(EIGHT + 1) == 4
    assert world.least(EIGHT - 60) == 0
    world.fleet.apply(Changes(sequence=3, gone_policies=("m",)))
    assert world.least(EIGHT) == 0


async def test_a_model_is_expected_where_it_was_asked_for_on_two_days_and_loaded_without_evicting() -> None:
    world = World(a_node(), a_model(), a_replica(), prewarm=True)
    for days in (-2, -1):
        world.used(EIGHT + days * DAY)
        assert await world.expected_at(EIGHT + days * DAY) == ()
    assert await world.expected_at(EIGHT - 301) == ()
    assert await world.expected_at(EIGHT - 300) == ("m",)
    assert list(world.warmth.steps(world.fleet.snapshot(), EIGHT)) == []
    world.fleet.apply(Changes(sequence=2, gone_replicas=("r-1",)))
    (step,) = world.warmth.steps(world.fleet.snapshot(), EIGHT)
    why = "it is likely to be asked for about 08:00 UTC: it was on 2 of the last 3 days"
    assert step == Grow("m", why, may_evict=False)
    assert world.warmth.said("m") == [why]
    assert await world.expected_at(EIGHT + 900) == ()


async def test_nothing_is_noted_or_expected_where_nobody_asked_for_it() -> None:
    for world in (
        World(a_node(), a_model(), a_replica()),
        World(a_node(), a_model(), a_replica(), Policy("m", prewarm=False), prewarm=True),
    ):
        world.used(EIGHT)
        assert await world.expected_at(EIGHT) == ()
        assert world.store.demand.asked == set()


async def test_a_policy_turns_it_on_for_its_model_alone() -> None:
    world = World(a_node(), a_model(), a_replica(), Policy("m", prewarm=True))
    world.used(EIGHT)
    await world.expected_at(EIGHT)
    assert world.store.demand.asked == {Asked("m", slot_at(EIGHT))}


def test_what_keeps_a_model_is_said() -> None:
    policy = Policy("m", warm_windows=(MORNINGS,), keep_alive_seconds=inf)
    world = World(a_node(), a_model(), a_replica(), policy)
    assert world.least(EIGHT) == 2
    assert world.warmth.said("m") == [
        "the warm window '0 8 * * * for 3600 s x2' is open until 1970-02-01 09:00 UTC",
        "at least 2 replicas are kept",
        "m#0 on one may be idle for ever: its policy allows for ever",
    ]


def test_an_open_window_is_the_reason_for_what_it_brings() -> None:
    world = World(Policy("m", warm_windows=(MORNINGS,)))
    assert world.warmth.why("m") == ""
    world.least(EIGHT)
    assert world.warmth.why("m") == "the warm window '0 8 * * * for 3600 s x2' is open"


async def test_without_the_database_nothing_new_is_known_and_nothing_is_lost() -> None:
    world = World(a_node(), a_model(), a_replica(), prewarm=True)
    world.used(EIGHT)
    world.store.down = True
    with pytest.raises(PartUnavailable):
        await world.warmth.look_ahead()
    world.store.down = False
    await world.warmth.look_ahead()
    assert world.store.demand.asked == {Asked("m", slot_at(EIGHT))}
