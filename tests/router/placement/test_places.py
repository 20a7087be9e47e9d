"""A node may run so many replicas: who leaves a place for another model, and who never does."""

from typing import Any

import pytest

from tests.router.builders import a_held_replica, a_model, a_node, a_replica
from tests.router.placement.test_eviction import a_world, decided, full_node, victims, wish
from weft_router.fleet.entities import ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy
from weft_router.fleet.views import may_begin
from weft_router.placement.decision import Evict, Placed, Refuse, Wait


def counted(maximum: int, **used: float) -> Fleet:
    """A node with room for everything that runs `a`, `b` … and may run so many."""
    there = [a_held_replica(f"r-{name}", name, 1) for name in used]
    node = a_node(free_gib=16 - len(there), max_replicas=maximum)
    return a_world(node, *there, used={f"r-{name}": moment for name, moment in used.items()})


def test_where_so_many_may_run_the_least_recently_used_leaves_its_place() -> None:
    assert victims(wish(1), counted(2, a=5.0, b=3.0)) == {"r-b"}
    assert isinstance(decided(wish(1), counted(3, a=5.0, b=3.0)), Placed)
    assert isinstance(decided(wish(1), counted(0, a=5.0, b=3.0)), Placed)


def test_where_more_run_than_may_as_many_go_as_are_too_many() -> None:
    assert victims(wish(1), counted(2, a=5.0, b=3.0, c=4.0)) == {"r-b", "r-c"}


def test_who_goes_for_memory_leaves_a_place_as_well() -> None:
    there = (a_held_replica("r-a", "a", 8), a_held_replica("r-b", "b", 8))
    fleet = a_world(full_node(max_replicas=2), *there, used={"r-a": 1.0, "r-b": 2.0})
    assert victims(wish(8), fleet) == {"r-a"}
    assert victims(wish(16), fleet) == {"r-a", "r-b"}


@pytest.mark.parametrize("model", [{}, {"can_spill": True}])
@pytest.mark.parametrize("need_gib", [0, 1, 20])
def test_a_place_is_made_also_where_memory_does_not_matter(need_gib: float, model: dict[str, Any]) -> None:
    decision = decided(wish(need_gib, model=model), counted(1, a=1.0))
    assert isinstance(decision, Evict if need_gib < 20 or model else Refuse)


def test_nobody_who_is_needed_pinned_or_busy_leaves_a_place() -> None:
    replica = a_held_replica("r-a", "a", 1)
    node = a_node(free_gib=15, max_replicas=1)
    for things in ((Policy("a", min_replicas=1),), (a_model("a", pinned=True),)):
        decision = decided(wish(1), a_world(node, replica, *things))
        assert isinstance(decision, Refuse)
    assert isinstance(decided(wish(1), a_world(node, replica, busy={"r-a": 1})), Wait)


def test_a_place_that_is_being_left_is_waited_for_and_then_taken() -> None:
    leaving = a_held_replica("r-a", "a", 1, state=ReplicaState.UNLOADING)
    node = a_node(free_gib=15, max_replicas=1)
    decision = decided(wish(1), a_world(node, leaving))
    assert isinstance(decision, Evict)
    assert decision.victims == ()
    coming = a_replica("r-new", model="new", state=ReplicaState.LOADING, begun=False)
    before = a_world(node, leaving, coming).snapshot().by_id["n-one"]
    assert not may_begin(before, "r-new")
    assert may_begin(a_world(node, coming).snapshot().by_id["n-one"], "r-new")


def test_who_may_not_evict_is_told_that_there_is_no_place() -> None:
    decision = decided(wish(1, may_evict=False), counted(1, a=1.0))
    assert isinstance(decision, Refuse)
    assert decision.reason == "no free place (1 node: 1 with as many replicas as they may run)"
