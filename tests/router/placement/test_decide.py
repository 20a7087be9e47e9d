"""The whole order: serve, join, place, evict, wait, refuse; and properties of it on made-up fleets."""

from dataclasses import replace
from itertools import combinations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from tests.router.worlds import NOW, fleets, models
from weft_router.fleet.entities import Model, NodeState, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.invariants import broken
from weft_router.fleet.policy import Policy
from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.decide import decide
from weft_router.placement.decision import Decision, Evict, Join, Placed, Refuse, Serve, Wait
from weft_router.placement.fit import fit
from weft_router.placement.invariants import broken_by
from weft_router.placement.request import Request, request_for
from weft_router.placement.rules import EvictionRules
from weft_router.placement.victims import Court

RULES = EvictionRules(residency_seconds=10, report_seconds=5)


def decided(fleet: Fleet, policy: Policy | None = None, **fields: Any) -> Decision:
    snapshot = fleet.snapshot()
    wish = request_for(a_model(), snapshot)
    return decide(
        replace(wish, **({"policy": policy or wish.policy} | fields)), snapshot, now=NOW, rules=RULES
    )


def test_a_ready_replica_is_used() -> None:
    fleet = a_fleet(a_node(), a_model(), a_replica())
    found = decided(fleet)
    assert isinstance(found, Serve)
    assert found.replicas == (a_replica(),)


def test_a_load_under_way_is_joined() -> None:
    loading = a_replica(state=ReplicaState.LOADING)
    found = decided(a_fleet(a_node(), a_model(), loading))
    assert isinstance(found, Join)
    assert found.replica == loading


def test_neither_a_silent_node_nor_an_old_revision_is_used_or_joined() -> None:
    silent = (a_node("silent", state=NodeState.UNHEALTHY), a_replica("r-1", node_id="n-silent"))
    old = (a_node("old"), a_replica("r-2", node_id="n-old", revision="rev0", state=ReplicaState.LOADING))
    found = decided(a_fleet(*silent, *old, a_node("good"), a_model()))
    assert isinstance(found, Placed)
    assert found.node.name == "good"


def test_one_more_is_placed_beside_what_serves() -> None:
    fleet = a_fleet(a_node(max_replicas_per_model=2), a_model(), a_replica())
    found = decided(fleet, another=True)
    assert isinstance(found, Placed)
    assert found.replica_index == 1


def test_the_maximum_holds_for_one_more() -> None:
    fleet = a_fleet(a_node(max_replicas_per_model=9), a_model(), a_replica(), Policy("m", max_replicas=1))
    found = decided(fleet, another=True)
    assert isinstance(found, Refuse)
    assert found.reason == "'m' has its 1 replicas, as many as it may"


def test_a_refusal_names_its_reason() -> None:
    found = decided(a_fleet(a_node(engines=("vllm",)), a_node("two", state=NodeState.DRAINING), a_model()))
    assert isinstance(found, Refuse)
    assert found.reason == "2 nodes: 1 not healthy, 1 without engine llama-cpp"


@settings(max_examples=100, deadline=None)
@given(fleets(), models("new"), st.booleans(), st.sampled_from((None, NOW - 100)), st.booleans())
def test_no_decision_breaks_a_rule(
    fleet: Fleet, model: Model, force: bool, since: float | None, another: bool
) -> None:
    snapshot = fleet.snapshot()
    assert broken(snapshot) == []
    rules = replace(RULES, force=force)
    for wanted in (model, *fleet.models.values()):
        wish = replace(request_for(wanted, snapshot, another=another), since=since)
        decision = decide(wish, snapshot, now=NOW, rules=rules)
        assert broken_by(decision, wish, snapshot, now=NOW, rules=rules) == []


@settings(max_examples=100, deadline=None)
@given(fleets(), models("new"), st.sampled_from(("eu", None)))
def test_placement_takes_whom_the_seed_would_take(fleet: Fleet, model: Model, zone: str | None) -> None:
    snapshot = fleet.snapshot()
    policy = Policy("new", {"zone": zone} if zone else {})
    wish = replace(request_for(replace(model, concurrency_groups=()), snapshot), policy=policy)
    decision = decide(wish, snapshot, now=NOW, rules=RULES)
    expected = min(
        (v for v in snapshot.views if _has_room(v, wish)), key=lambda v: _preference(v, wish), default=None
    )
    assert isinstance(decision, Placed) == (expected is not None)
    if isinstance(decision, Placed) and expected is not None:
        assert decision.node.name == expected.node.name


@settings(max_examples=100, deadline=None)
@given(fleets(node_count=3, limited=False), models("new"))
def test_no_cheaper_set_on_one_device_would_have_made_room(fleet: Fleet, model: Model) -> None:
    snapshot = fleet.snapshot()
    wish = request_for(replace(model, concurrency_groups=(), device_limit=1), snapshot)
    decision = decide(wish, snapshot, now=NOW, rules=RULES)
    cheapest = min(_sets(wish, snapshot), default=None)
    if isinstance(decision, Evict) and decision.victims:
        assert cheapest is not None
        assert abs(_cost(decision, wish, snapshot) - cheapest) < 1e-9
    elif isinstance(decision, Wait | Refuse):
        assert cheapest is None


def _has_room(view: NodeView, wish: Request) -> bool:
    node = view.node
    return (
        node.state is NodeState.HEALTHY
        and wish.policy.node_selector.items() <= node.labels.items()
        and wish.model.backend in node.engines
        and (not node.max_replicas or len(view.replicas) < node.max_replicas)
        and (not _known(view) or fit(view.rooms, wish.need_bytes, wish.model.device_limit) is not None)
    )


def _known(view: NodeView) -> bool:
    return any(d.total_bytes for d in view.node.devices)


def _preference(view: NodeView, wish: Request) -> tuple[Any, ...]:
    """Known to have room, idle, least loaded, most free: the seed's words."""
    in_flight = sum(r.in_flight_count for r in view.replicas)
    free = sum(max(0, r.spare_bytes) for r in view.rooms if r.total_bytes)
    return (not _known(view), bool(view.replicas), in_flight, len(view.replicas), -free, view.node.name)


def _sets(wish: Request, snapshot: Snapshot) -> list[float]:
    """What every set of victims that makes room would cost."""
    court = Court(wish, snapshot, NOW, RULES)
    found = []
    for view in (v for v in snapshot.views if v.healthy and wish.model.backend in v.engines):
        victims = court.victims(view)
        for size in range(1, len(victims) + 1):
            for chosen in combinations(victims, size):
                freed = {r.device_id: r.spare_bytes for r in view.coming if r.total_bytes}
                for share in (s for v in chosen for s in v.view.holding.claims):
                    if share.device_id in freed:
                        freed[share.device_id] += share.size_bytes
                if max(freed.values(), default=0) >= wish.need_bytes:
                    found.append(sum(v.cost for v in chosen))
    return found


def _cost(decision: Evict, wish: Request, snapshot: Snapshot) -> float:
    costs = {
        v.view.replica.id: v.cost
        for v in Court(wish, snapshot, NOW, RULES).victims(snapshot.by_id[decision.node.id])
    }
    return sum(costs[v.id] for v in decision.victims)
