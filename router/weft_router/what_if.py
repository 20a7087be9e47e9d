"""A question about a fleet that differs from the real one, turned into a snapshot of that fleet."""

from collections.abc import Sequence
from dataclasses import replace

from weft_common.errors import FieldViolation, InvalidRequest, NodeNotFound
from weft_proto.pb.weft.scheduling.v1 import scheduling_service_pb2 as pb
from weft_proto.pb.weft.types.v1 import node_pb2, policy_pb2
from weft_router.convert_warmth import warmth_of
from weft_router.fleet.entities import Device, Node, NodeState
from weft_router.fleet.labels import labelled
from weft_router.fleet.policy import PolicyEdit, edited, violations
from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.whatif import with_node, with_policy, without_node

_CPU = "cpu"
# Each costs time and memory of a router that serves others.
_MOST = {"add_nodes": 1000, "remove_nodes": 1000, "set_policies": 200}


def edited_snapshot(snapshot: Snapshot, what_if: pb.WhatIf) -> Snapshot:
    """The fleet as if; raises InvalidRequest that names each wrong field, and NodeNotFound."""
    _require_possible(what_if)
    for message in what_if.add_nodes:
        snapshot = with_node(snapshot, _node(message, snapshot))
    for wanted in what_if.remove_nodes:
        snapshot = without_node(snapshot, view_of(snapshot, wanted).node.id)
    for policy in what_if.set_policies:
        snapshot = with_policy(snapshot, edited(None, _edit(policy)))
    return snapshot


def view_of(snapshot: Snapshot, wanted: str) -> NodeView:
    """A node by id or name; raises NodeNotFound."""
    found = snapshot.by_id.get(wanted) or _named(snapshot, wanted)
    if found is None:
        raise NodeNotFound(f"There is no node '{wanted}'.")
    return found


def _named(snapshot: Snapshot, name: str) -> NodeView | None:
    return next((v for v in snapshot.views if v.node.name == name), None)


def _require_possible(what_if: pb.WhatIf) -> None:
    _require_few(what_if)
    found: list[FieldViolation] = []
    for index, node in enumerate(what_if.add_nodes):
        at = f"what_if.add_nodes.{index}"
        if not node.name:
            found.append(FieldViolation(f"{at}.name", "a name is needed"))
        if not node.devices:
            found.append(FieldViolation(f"{at}.devices", "at least one device is needed"))
    for index, policy in enumerate(what_if.set_policies):
        at = f"what_if.set_policies.{index}"
        found += [FieldViolation(f"{at}.{v.field}", v.problem) for v in violations(_edit(policy))]
    if found:
        raise InvalidRequest("; ".join(f"{v.field}: {v.description}" for v in found), violations=found)


def _require_few(what_if: pb.WhatIf) -> None:
    found = [
        FieldViolation(f"what_if.{field}", f"{most} at most are possible")
        for field, most in _MOST.items()
        if len(getattr(what_if, field)) > most
    ]
    if found:
        raise InvalidRequest("; ".join(f"{v.field}: {v.description}" for v in found), violations=found)


def _node(message: node_pb2.Node, snapshot: Snapshot) -> Node:
    """A node as it is described; what is left out is as it was, or as a worker that joins would have it."""
    view = snapshot.by_id.get(message.id) or _named(snapshot, message.name)
    known = view.node if view else _newcomer(message, snapshot)
    node = replace(
        known,
        name=message.name,
        state=_state(message, known.state),
        devices=tuple(_device(d, known, index) for index, d in enumerate(message.devices)),
        engines=tuple(message.engines) or known.engines,
        max_replicas_per_model=message.max_replicas_per_model or known.max_replicas_per_model,
        worker_labels=dict(message.worker_labels) or known.worker_labels,
        # What is said of labels is said by an admin: it wins over what hardware says.
        admin_labels={**known.admin_labels, **message.admin_labels, **message.labels},
        disk_total_bytes=message.disk_total_bytes or known.disk_total_bytes,
        disk_free_bytes=message.disk_free_bytes or known.disk_free_bytes,
        max_replicas=message.max_replicas or known.max_replicas,
    )
    return labelled(node)


def _newcomer(message: node_pb2.Node, snapshot: Snapshot) -> Node:
    """A healthy worker that runs nothing and can run whatever any other one can."""
    engines: Sequence[str] = sorted({e for v in snapshot.views for e in v.engines})
    return Node(
        id=message.id or f"n-{message.name}",
        name=message.name,
        state=NodeState.HEALTHY,
        approved=True,
        address="",
        labels={},
        devices=(),
        engines=tuple(engines or {m.backend for m in snapshot.models.values()}),
        max_replicas_per_model=1,
        token_sha256=b"",
    )


def _state(message: node_pb2.Node, known: NodeState) -> NodeState:
    if message.state == node_pb2.NODE_STATE_UNSPECIFIED:
        return known
    return NodeState[node_pb2.NodeState.Name(message.state).removeprefix("NODE_STATE_")]


def _device(message: node_pb2.Device, node: Node, index: int) -> Device:
    """A device; one whose free memory is left out is empty."""
    known = next((d for d in node.devices if d.id == message.id), None)
    vendor = message.vendor or (known.vendor if known else _CPU)
    return Device(
        id=message.id or (_CPU if vendor == _CPU and not index else f"{vendor}-{index}"),
        name=message.name,
        vendor=vendor,
        total_bytes=message.total_memory_bytes,
        free_bytes=message.free_memory_bytes or message.total_memory_bytes,
    )


def _edit(message: policy_pb2.Policy) -> PolicyEdit:
    return PolicyEdit(
        model=message.model_name,
        node_selector=dict(message.node_selector),
        min_replicas=message.min_replicas,
        max_replicas=message.max_replicas,
        spread_all=message.spread_all,
        route_policy=message.route_policy,
        balance_abs_threshold=message.balance_abs_threshold,
        balance_rel_threshold=message.balance_rel_threshold,
        min_prefix_match=message.min_prefix_match,
        **warmth_of(message),
    )
