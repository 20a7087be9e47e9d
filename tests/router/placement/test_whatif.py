"""Questions to an edited fleet; the fleet itself is never touched."""

from dataclasses import replace

from hypothesis import given, settings

from tests.router.builders import GIB, a_fleet, a_held_replica, a_model, a_node
from tests.router.worlds import NOW, fleets, models
from weft_router.fleet.entities import Model
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.invariants import broken
from weft_router.fleet.policy import Policy
from weft_router.fleet.views import Snapshot
from weft_router.placement.decide import decide
from weft_router.placement.decision import Decision, Evict, Placed, Refuse
from weft_router.placement.request import request_for
from weft_router.placement.rules import EvictionRules
from weft_router.placement.whatif import plan, with_node, with_policy, without_node, without_replicas

RULES = EvictionRules()
MODEL = a_model(size_bytes=5 * GIB)


def decided(snapshot: Snapshot) -> Decision:
    return decide(request_for(MODEL, snapshot), snapshot, now=NOW, rules=RULES)


def test_a_node_more_may_be_what_is_missing() -> None:
    snapshot = a_fleet(a_node(free_gib=1), MODEL).snapshot()
    assert not isinstance(decided(snapshot), Placed)
    found = decided(with_node(snapshot, a_node("two", free_gib=9)))
    assert isinstance(found, Placed)
    assert found.node.name == "two"
    assert not isinstance(decided(snapshot), Placed)


def test_without_a_node_what_it_served_goes_elsewhere() -> None:
    snapshot = a_fleet(a_node(), a_node("two"), MODEL, a_held_replica("r-1", "m", 6)).snapshot()
    assert decided(snapshot).__class__.__name__ == "Serve"
    found = decided(without_node(snapshot, "n-one"))
    assert isinstance(found, Placed)
    assert found.node.name == "two"


def test_another_policy_leads_elsewhere() -> None:
    snapshot = a_fleet(a_node(free_gib=9), a_node("two"), MODEL).snapshot()
    found = decided(with_policy(snapshot, Policy("m", {"node.name": "two"})))
    assert isinstance(found, Placed)
    assert found.node.name == "two"


def test_can_this_model_with_three_replicas_fit() -> None:
    snapshot = a_fleet(
        a_node(free_gib=12, max_replicas_per_model=4), a_node("two", free_gib=7), MODEL
    ).snapshot()
    found = plan(request_for(MODEL, snapshot), snapshot, 4, now=NOW, rules=RULES)
    assert [type(d) for d in found] == [Placed, Placed, Placed, Refuse]
    assert [d.node.name for d in found if isinstance(d, Placed)] == ["one", "two", "one"]


def test_planned_replicas_count_what_they_evict_as_gone() -> None:
    pair = [a_held_replica(f"r-{i}", f"o{i}", 8) for i in range(2)]
    node = a_node(free_gib=0, max_replicas_per_model=3)
    fleet = a_fleet(node, MODEL, a_model("o0"), a_model("o1"), *pair)
    fleet.measure("n-one", node.devices, pair)
    fleet.report("n-one", {}, NOW)
    snapshot = fleet.snapshot()
    found = plan(request_for(MODEL, snapshot), snapshot, 2, now=NOW, rules=RULES)
    assert [sorted(r.id for r in d.victims) for d in found if isinstance(d, Evict)] == [["r-0"], ["r-1"]]


@settings(max_examples=50, deadline=None)
@given(fleets(), models("new"))
def test_plans_never_over_commit_and_edits_leave_the_fleet_alone(fleet: Fleet, model: Model) -> None:
    snapshot = fleet.snapshot()
    before = repr(snapshot)
    wish = request_for(model, snapshot)
    for decision in plan(wish, snapshot, 5, now=NOW, rules=RULES):
        assert isinstance(decision, Placed | Evict) or decision.explanation is not None
    edited = without_replicas(snapshot, tuple(fleet.replicas.values()))
    assert broken(edited) == []
    assert all(not v.replicas for v in edited.views)
    assert repr(replace(snapshot)) == before
