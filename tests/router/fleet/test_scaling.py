"""How many replicas there shall be next, one step at a time."""

from dataclasses import replace
from typing import Any

import pytest

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from weft_router.fleet.entities import NodeState, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow, Remembered, ScalingRules, Shrink, Step, next_step

RULES = ScalingRules(busy_seconds=10, idle_seconds=300)
NODES = tuple(a_node(name) for name in "abc")


def on(node: str, replica_id: str = "", **fields: Any) -> Any:
    return a_replica(replica_id or f"r-{node}", node_id=f"n-{node}", **fields)


def step(
    policy: Policy,
    *replicas: Any,
    now: float = 1000,
    busy: tuple[str, ...] = (),
    since: float | None = None,
    **fields: Any,
) -> Step | None:
    fleet = a_fleet(*NODES, a_model(), policy, *replicas, **fields)
    for replica_id in busy:
        fleet.report(fleet.replicas[replica_id].node_id, {replica_id: 1}, now)
    return next_step("m", fleet.snapshot(), Remembered(since), now=now, rules=RULES)[0]


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
    fleet.report("n-a", {"r-a": 1}, 600)
    fleet.report("n-a", {"r-a": 0}, 650)
    assert next_step("m", fleet.snapshot(), Remembered(), now=799, rules=RULES)[0] is None
    found, _ = next_step("m", fleet.snapshot(), Remembered(), now=800, rules=RULES)
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
    assert step(policy, on("a"), busy=("r-a",), since=991) is None
    assert step(policy, on("a"), busy=("r-a",), since=990) == Grow("m", "every replica is busy")


def test_busyness_is_remembered_and_forgotten() -> None:
    fleet = a_fleet(*NODES, a_model(), Policy("m", max_replicas=2), on("a"))
    fleet.report("n-a", {"r-a": 1}, 5)
    _, remembered = next_step("m", fleet.snapshot(), Remembered(), now=5, rules=RULES)
    assert remembered == Remembered(5)
    _, remembered = next_step("m", fleet.snapshot(), remembered, now=9, rules=RULES)
    assert remembered == Remembered(5)
    grow, remembered = next_step("m", fleet.snapshot(), remembered, now=15, rules=RULES)
    assert (isinstance(grow, Grow), remembered) == (True, Remembered(15))
    fleet.report("n-a", {"r-a": 0}, 16)
    assert next_step("m", fleet.snapshot(), remembered, now=16, rules=RULES)[1] == Remembered()


def test_the_maximum_holds_and_no_maximum_is_none() -> None:
    busy = {"busy": ("r-a",), "since": 1.0}
    assert step(Policy("m", max_replicas=1), on("a"), **busy) is None  # type: ignore[arg-type]
    assert isinstance(step(Policy("m", min_replicas=1), on("a"), **busy), Grow)  # type: ignore[arg-type]


def test_while_one_loads_no_other_is_asked_for() -> None:
    loading = on("b", state=ReplicaState.LOADING)
    assert step(Policy("m", max_replicas=3), on("a"), loading, busy=("r-a",), since=1) is None


def test_a_lowered_maximum_takes_away_what_is_too_many() -> None:
    found = step(Policy("m", max_replicas=1), on("a"), on("b"), busy=("r-a",), now=100)
    assert found == Shrink(on("b"), "2 of at most 1 replicas")


def test_without_a_minimum_or_a_maximum_nothing_scales() -> None:
    assert step(Policy("m"), on("a"), on("b"), busy=("r-a", "r-b"), since=1) is None
    assert step(Policy("m", {"node.name": "a"}), on("a"), busy=("r-a",), since=1) is None


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


def test_slots_may_say_what_busy_means() -> None:
    rules = replace(RULES, busy_share=0.5)
    fleet = a_fleet(*NODES, a_model(), Policy("m", max_replicas=2), on("a", slot_count=4))
    for count, busy in ((2, False), (3, True)):
        fleet.report("n-a", {"r-a": count}, 5)
        _, remembered = next_step("m", fleet.snapshot(), Remembered(), now=5, rules=rules)
        assert (remembered.busy_since is not None) is busy
