"""What would be if: snapshots with a node, a policy or a replica more or less, and several placements in a row."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from weft_router.fleet.entities import Node, Replica, ReplicaState
from weft_router.fleet.memory import holding
from weft_router.fleet.policy import Policy
from weft_router.fleet.views import Catalog, NodeView, ReplicaView, Snapshot, node_view
from weft_router.placement.decide import decide
from weft_router.placement.decision import Decision, Evict, Placed
from weft_router.placement.request import Request
from weft_router.placement.rules import EvictionRules


def with_node(snapshot: Snapshot, node: Node) -> Snapshot:
    """As if this node had joined, or were as it is given here."""
    known = snapshot.by_id.get(node.id)
    return _with_views(
        snapshot, {node.id: node_view(node, known.replicas if known else (), snapshot.catalog)}
    )


def without_node(snapshot: Snapshot, node_id: str) -> Snapshot:
    """As if the node and what runs on it were gone."""
    views = {i: v for i, v in snapshot.by_id.items() if i != node_id}
    of_model = _grouped(snapshot.of_model, lambda r: r.node_id != node_id)
    return replace(snapshot, views=tuple(views.values()), by_id=views, of_model=of_model)


def with_policy(snapshot: Snapshot, policy: Policy) -> Snapshot:
    """As if the model had this policy."""
    policies = {**snapshot.catalog.policies, policy.model: policy}
    edited = replace(snapshot, catalog=Catalog(snapshot.models, policies))
    nodes = {r.node_id for r in snapshot.replicas(policy.model)} & snapshot.by_id.keys()
    return _with_views(edited, {i: _without(snapshot.by_id[i], frozenset(), edited) for i in nodes})


def with_replica(snapshot: Snapshot, replica: Replica) -> Snapshot:
    """As if the replica were there."""
    view = snapshot.by_id[replica.node_id]
    held = holding(replica, view.node.devices, shown_bytes=0, settled=False)
    there = (*view.replicas, ReplicaView(replica, held))
    of_model = {**snapshot.of_model, replica.model: (*snapshot.replicas(replica.model), replica)}
    edited = _with_views(snapshot, {view.node.id: node_view(view.node, there, snapshot.catalog, view.credit)})
    return replace(edited, of_model=of_model)


def without_replicas(snapshot: Snapshot, replicas: tuple[Replica, ...]) -> Snapshot:
    """As if the replicas were gone and their memory free."""
    gone = frozenset(r.id for r in replicas)
    nodes = {r.node_id for r in replicas} & snapshot.by_id.keys()
    edited = _with_views(snapshot, {i: _without(snapshot.by_id[i], gone, snapshot) for i in nodes})
    return replace(edited, of_model=_grouped(snapshot.of_model, lambda r: r.id not in gone))


def plan(
    request: Request,
    snapshot: Snapshot,
    count: int,
    *,
    now: float,
    rules: EvictionRules,
    rng: Random | None = None,
) -> tuple[Decision, ...]:
    """Decide `count` times in a row, each time as if what was decided before had been done; ends at the first no."""
    decisions: list[Decision] = []
    for number in range(count):
        wish = replace(request, another=True)
        decision = decide(wish, snapshot, now=now, rng=rng, rules=rules)
        decisions.append(decision)
        if not isinstance(decision, Placed | Evict):
            break
        if isinstance(decision, Evict):
            snapshot = without_replicas(snapshot, decision.victims)
        snapshot = with_replica(snapshot, _planned(decision, request, number))
    return tuple(decisions)


def _planned(decision: Placed | Evict, request: Request, number: int) -> Replica:
    return Replica(
        id=f"planned-{number}",
        model=request.model.name,
        index=decision.replica_index,
        revision=request.model.revision,
        node_id=decision.node.id,
        address="",
        state=ReplicaState.LOADING,
        shares=decision.shares,
    )


def _without(view: NodeView, gone: frozenset[str], snapshot: Snapshot) -> NodeView:
    stay = [r for r in view.replicas if r.replica.id not in gone]
    freed = (s for r in view.replicas if r.replica.id in gone for s in r.holding.shown)
    return node_view(view.node, stay, snapshot.catalog, (*view.credit, *freed))


def _with_views(snapshot: Snapshot, changed: Mapping[str, NodeView]) -> Snapshot:
    views = {**snapshot.by_id, **changed}
    return replace(snapshot, views=tuple(views.values()), by_id=views)


def _grouped(
    of_model: Mapping[str, tuple[Replica, ...]], stays: Callable[[Replica], bool]
) -> dict[str, tuple[Replica, ...]]:
    kept = {name: tuple(r for r in there if stays(r)) for name, there in of_model.items()}
    return {name: there for name, there in kept.items() if there}
