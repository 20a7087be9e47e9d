"""How many replicas there shall be next, one step at a time."""

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from weft_router.fleet.entities import Changes, NodeState, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow, Remembered, ScalingRules, Shrink, Step, next_step

RULES = ScalingRules(busy_seconds=10, idle_seconds=300)
SLOTS = 4
NODES = tuple(a_node(name) for name in "abc")


def on(node: str, replica_id: str = "", **fields: Any) -> Any:
    return a_replica(replica_id or f"r-{node}", node_id=f"n-{node}", **fields)


def step(
    policy: Policy,
    *replicas: Any,
    now: float = 1000,
    busy: tuple[str, ...] = (),
    busy_seconds: float = 0.0,
    **fields: Any,
) -> Step | None:
    fleet = a_fleet(*NODES, a_model(), policy, *replicas, **fields)
    for replica_id in busy:
        fleet.report(fleet.replicas[replica_id].node_id, {replica_id: SLOTS}, now)
    remembered = Remembered(busy_seconds, now - 1, serving=dict.fromkeys(fleet.replicas, 0.0))
    return next_step("m", fleet.snapshot(), remembered, now=now, rules=RULES)[0]


def test_below_the_minimum_one_more_is_loaded_and_others_may_go_for_it() -> None:
    assert step(Policy("m", min_replicas=2), on("a")) == Grow("m", "1 of at least 2 replicas", may_evict=True)
    assert step(Policy("m", min_replicas=2), on("a"), on("b", state=ReplicaState.LOADING)) is None


def test_replicas_on_a_silent_node_do_not_count_for_the_minimum() -> None:
    silent = a_node("d", state=NodeState.UNHEALTHY)
    assert isinstance(step(Policy("m", min_replicas=1), silent, on("d")), Grow)


def test_at_the_minimum_idle_replicas_stay() -> None:
    assert step(Policy("m", min_replicas=2), on("a"), on("b")) is None


def test_beyond_the_minimum_the_longest_idle_goes_after_five_minutes() -> None:
    policy = Policy("m", min_replicas=1)
    fleet = a_fleet(*NODES, a_model(), policy, on("a"), on("b"), now=500)
    _, remembered = next_step("m", fleet.snapshot(), Remembered(), now=500, rules=RULES)
    fleet.report("n-a", {"r-a": 1}, 600)
    fleet.report("n-a", {"r-a": 0}, 650)
    assert next_step("m", fleet.snapshot(), remembered, now=799, rules=RULES)[0] is None
    found, _ = next_step("m", fleet.snapshot(), remembered, now=800, rules=RULES)
    assert found == Shrink(fleet.replicas["r-b"], "idle for 300 s")


def test_of_equally_idle_replicas_the_highest_index_goes() -> None:
    pair = (on("a", "r-0", index=0), on("a", "r-1", index=1))
    assert step(Policy("m", max_replicas=3), *pair) == Shrink(pair[1], "idle for 300 s")


def test_the_last_replica_stays() -> None:
    assert step(Policy("m", max_replicas=3), on("a")) is None


def test_a_busy_replica_is_not_what_goes() -> None:
    found = step(Policy("m", max_replicas=3), on("a"), on("b"), busy=("r-a",))
    assert isinstance(found, Shrink)
    assert found.replica.id == "r-b"


def test_when_all_have_been_busy_for_long_enough_one_more_is_loaded() -> None:
    policy = Policy("m", max_replicas=2)
    assert step(policy, on("a"), busy=("r-a",), busy_seconds=8.9) is None
    assert step(policy, on("a"), busy=("r-a",), busy_seconds=9) == Grow("m", "every replica is busy")


class Watched:
    """One model that is looked at every second."""

    def __init__(self, policy: Policy, *replicas: Any, rules: ScalingRules = RULES) -> None:
        self.policy, self.rules = policy, rules
        self.fleet = a_fleet(*NODES, a_model(), policy, *replicas)
        self.now, self.remembered = 0.0, Remembered()

    def looks(self, *counts: int, waited_for: bool = False) -> list[Step | None]:
        """What each further look asks for, with so many requests at each replica; nothing of it is done."""
        return [self._look(count, waited_for=waited_for) for count in counts]

    def _look(self, count: int, *, waited_for: bool) -> Step | None:
        self.now += 1
        for replica in self.fleet.replicas.values():
            self.fleet.report(replica.node_id, {replica.id: count}, self.now)
        found, self.remembered = next_step(
            "m",
            self.fleet.snapshot(),
            self.remembered,
            now=self.now,
            rules=self.rules,
            waited_for=waited_for,
        )
        return found


def steps(found: list[Step | None]) -> list[int]:
    """At which looks something was asked for, from 1."""
    return [number for number, each in enumerate(found, 1) if each is not None]


def a_watched(**fields: Any) -> Watched:
    return Watched(Policy("m", max_replicas=2), on("a", slot_count=SLOTS), rules=replace(RULES, **fields))


def test_full_replicas_get_another_one_every_ten_seconds() -> None:
    assert steps(a_watched().looks(*[SLOTS] * 31)) == [11, 21, 31]


def test_a_free_slot_is_no_reason_for_another_one() -> None:
    assert steps(a_watched().looks(*[SLOTS - 1] * 100)) == []


@pytest.mark.parametrize(("share", "count"), [(0.0, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_how_many_slots_make_a_replica_busy_is_a_setting(share: float, count: int) -> None:
    assert steps(a_watched(busy_share=share).looks(*[count - 1] * 20)) == []
    assert steps(a_watched(busy_share=share).looks(*[count] * 12)) == [11]


def test_a_moment_between_two_requests_costs_a_few_seconds_and_not_all_of_them() -> None:
    assert steps(a_watched().looks(*[SLOTS] * 9, 0, *[SLOTS] * 9)) == [16]


def test_whoever_is_busy_by_turns_is_not_busy() -> None:
    """However the looks fall: up to four fifths of the time."""
    for busy in range(1, 5):
        rhythm = [SLOTS] * busy + [0] * (5 - busy)
        assert steps(a_watched().looks(*rhythm * 100)) == []


def test_while_somebody_waits_there_is_no_free_slot() -> None:
    assert steps(a_watched().looks(*[0] * 12, waited_for=True)) == [11]


def test_one_that_says_nothing_any_more_does_not_keep_others_from_being_busy() -> None:
    """It hangs, perhaps; its agent takes a while to tell so, and it was idle by its last word."""
    fleet = a_fleet(*NODES, a_model(), Policy("m", min_replicas=2, max_replicas=3), on("a"), on("b"))
    fleet.report("n-a", {"r-a": SLOTS}, 999)
    fleet.report("n-b", {}, 999)

    def grows(*mute: str, waited_for: bool = False) -> bool:
        found, _ = next_step(
            "m",
            fleet.snapshot(),
            Remembered(10.0, 999),
            now=1000,
            rules=RULES,
            mute=frozenset(mute),
            waited_for=waited_for,
        )
        return isinstance(found, Grow)

    assert grows("r-b")
    assert not grows()
    assert not grows("r-a", "r-b")
    assert grows("r-a", "r-b", waited_for=True)


def test_a_long_time_without_a_look_says_nothing() -> None:
    watched = a_watched()
    watched.looks(SLOTS)
    watched.now += 600
    assert watched.looks(SLOTS) == [None]


def test_the_maximum_holds_and_no_maximum_is_none() -> None:
    busy = {"busy": ("r-a",), "busy_seconds": 60.0}
    assert step(Policy("m", max_replicas=1), on("a"), **busy) is None  # type: ignore[arg-type]
    assert isinstance(step(Policy("m", min_replicas=1), on("a"), **busy), Grow)  # type: ignore[arg-type]


def test_while_one_loads_no_other_is_asked_for() -> None:
    loading = on("b", state=ReplicaState.LOADING)
    assert step(Policy("m", max_replicas=3), on("a"), loading, busy=("r-a",), busy_seconds=60) is None


def test_a_lowered_maximum_takes_away_what_is_too_many() -> None:
    found = step(Policy("m", max_replicas=1), on("a"), on("b"), busy=("r-a",), now=100)
    assert found == Shrink(on("b"), "2 of at most 1 replicas")


def test_without_a_minimum_or_a_maximum_nothing_scales() -> None:
    assert step(Policy("m"), on("a"), on("b"), busy=("r-a", "r-b"), busy_seconds=60) is None
    assert step(Policy("m", {"node.name": "a"}), on("a"), busy=("r-a",), busy_seconds=60) is None


def test_spreading_puts_one_on_each_node_that_matches() -> None:
    policy = Policy("m", spread_all=True)
    found = step(policy, on("a"), on("b", state=ReplicaState.LOADING))
    assert found == Grow("m", "c has none", "n-c", may_evict=True)
    assert step(policy, on("a"), on("b"), on("c")) is None
    assert step(Policy("m", {"node.name": "b"}, spread_all=True), on("b")) is None
    assert step(Policy("m", {"zone": "mars"}, spread_all=True)) is None


@pytest.mark.parametrize("policy", [Policy("m"), Policy("m", min_replicas=1)])
def test_an_outdated_replica_goes_whatever_the_policy(policy: Policy) -> None:
    old = on("a", revision="rev0")
    assert step(policy, old) == Shrink(old, "it can never serve: its model or its node's labels changed")


def test_a_replica_where_the_selector_no_longer_leads_goes() -> None:
    found = step(Policy("m", {"node.name": "b"}), on("a"), on("b"))
    assert isinstance(found, Shrink)
    assert found.replica.id == "r-a"


def test_replicas_of_a_model_that_is_gone_go() -> None:
    fleet = a_fleet(*NODES, on("a"))
    found, _ = next_step("m", fleet.snapshot(), Remembered(), now=0, rules=RULES)
    assert isinstance(found, Shrink)


def test_one_step_after_the_other_leads_to_the_bounds_and_stays_there() -> None:
    """Every step done, no further step is asked for: nothing flaps."""
    policy = Policy("m", min_replicas=2, max_replicas=3)
    fleet: Fleet = a_fleet(*NODES, a_model(), policy, now=0)
    count, remembered = 0, Remembered()
    for now in range(0, 2000, 5):
        found, remembered = next_step("m", fleet.snapshot(), remembered, now=now, rules=RULES)
        if isinstance(found, Grow):
            node = NODES[len(fleet.replicas)]
            more = a_replica(f"r-{node.name}", node_id=node.id)
            fleet = a_fleet(*NODES, a_model(), policy, *fleet.replicas.values(), more, now=now)
            count += 1
        assert not isinstance(found, Shrink)
    assert (count, len(fleet.replicas)) == (2, 2)


def test_under_a_noisy_load_replicas_come_and_go_seldom() -> None:
    """An hour in which requests come and go at random, a quarter of it with twice of what one replica can do."""
    rng, policy = Random(5), Policy("m", max_replicas=3)
    watched = Watched(policy, on("a"))
    made: list[tuple[float, str]] = []
    for second in range(3600):
        crowd = rng.choice((0, 1, 2, 4)) if (second // 450) % 2 else rng.choice((6, 8, 9, 12))
        each = crowd // len(watched.fleet.replicas)
        (found,) = watched.looks(each)
        if isinstance(found, Grow):
            node = next(n for n in NODES if not watched.fleet.replicas_on(n.id))
            more = a_replica(f"r-{second}", node_id=node.id)
            watched.fleet.apply(Changes(sequence=second + 2, replicas=(more,)), watched.now)
            made.append((watched.now, "up"))
        elif isinstance(found, Shrink):
            gone = Changes(sequence=second + 2, gone_replicas=(found.replica.id,))
            watched.fleet.apply(gone, watched.now)
            made.append((watched.now, "down"))
    turns = [b for a, b in pairwise(made) if a[1] != b[1]]
    assert ("up" in {kind for _, kind in made}, len(made) <= 12) == (True, True)
    assert all(later[0] - sooner[0] >= RULES.busy_seconds for sooner, later in pairwise(turns))


@pytest.mark.parametrize("state", [ReplicaState.READY, ReplicaState.LOADING])
def test_while_another_one_has_just_come_nobody_goes(state: ReplicaState) -> None:
    """A node that is late every now and then must not have a replica loaded for it, and one unloaded, each time."""
    policy = Policy("m", min_replicas=1)
    fleet = a_fleet(*NODES, a_model(), policy, on("a"), now=0)
    _, remembered = next_step("m", fleet.snapshot(), Remembered(), now=800, rules=RULES)
    fleet.apply(Changes(sequence=2, replicas=(on("b", state=state),)), 900)
    for now, goes in ((900, False), (1199, False), (1200, state is ReplicaState.READY)):
        found, remembered = next_step("m", fleet.snapshot(), remembered, now=now, rules=RULES)
        assert (found is not None) is goes


def test_a_new_leader_finds_nobody_idle_before_it_has_looked_for_as_long() -> None:
    """What seems idle may have come back with its node a moment ago, which only the former one saw."""
    fleet = a_fleet(*NODES, a_model(), Policy("m", min_replicas=1), on("a"), on("b"), now=0)
    remembered = Remembered()
    for now, goes in ((1000, False), (1299, False), (1300, True)):
        found, remembered = next_step("m", fleet.snapshot(), remembered, now=now, rules=RULES)
        assert (found is not None) is goes


def test_one_that_comes_back_with_its_node_is_not_idle_for_having_been_away() -> None:
    fleet = a_fleet(*NODES, a_model(), Policy("m", min_replicas=1), on("a"), on("b"), now=0)
    _, remembered = next_step("m", fleet.snapshot(), Remembered(), now=100, rules=RULES)
    for now, state in ((200, NodeState.UNHEALTHY), (1000, NodeState.HEALTHY)):
        fleet.apply(Changes(sequence=now, nodes=(replace(NODES[1], state=state),)), now)
        found, remembered = next_step("m", fleet.snapshot(), remembered, now=now, rules=RULES)
        assert found is None
    assert next_step("m", fleet.snapshot(), remembered, now=1299, rules=RULES)[0] is None
    assert isinstance(next_step("m", fleet.snapshot(), remembered, now=1300, rules=RULES)[0], Shrink)
