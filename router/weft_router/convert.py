"""Between the fleet's own values and the messages that other parts see."""

from dataclasses import replace
from datetime import UTC, datetime

import weft_proto.weft.types.v1 as types
from weft_proto.pb.weft.routing.v1 import routing_service_pb2
from weft_proto.pb.weft.types.v1 import model_pb2, node_pb2, policy_pb2, replica_pb2
from weft_router.convert_about import about_of, about_pb
from weft_router.convert_conditions import conditions_of, put_conditions
from weft_router.convert_warmth import idle_limit_of, put_idle_limit, put_warmth, warmth_of
from weft_router.fleet.entities import (
    Changes,
    Device,
    Model,
    ModelPurpose,
    Node,
    NodeState,
    Replica,
    ReplicaState,
    Share,
)
from weft_router.fleet.load_job import LoadJob, eta_seconds
from weft_router.fleet.policy import Policy, RoutePolicy


def node_pb(node: Node) -> node_pb2.Node:
    """A node as gateways and the database see it; without its token."""
    message = node_pb2.Node(
        id=node.id,
        name=node.name,
        state=f"NODE_STATE_{node.state.name}",
        address=node.address,
        labels=node.labels,
        devices=[_device_pb(d) for d in node.devices],
        engines=node.engines,
        max_replicas_per_model=node.max_replicas_per_model,
        worker_labels=node.worker_labels,
        admin_labels=node.admin_labels,
        disk_total_bytes=node.disk_total_bytes,
        disk_free_bytes=node.disk_free_bytes,
        left_by_itself=node.left_by_itself,
        approved=node.approved,
        admin_max_replicas_per_model=node.admin_max_replicas,
        worker_max_replicas_per_model=node.worker_max_replicas,
        advertised_address=node.advertised_address,
        max_replicas=node.max_replicas,
        worker_memory_budget=node.worker_memory_budget,
        admin_memory_budget=node.admin_memory_budget,
        shared_models=node.shared_models,
        cpu_engines=node.cpu_engines,
        unavailable_engines=node.unavailable_engines,
    )
    put_idle_limit(message, node.idle_limit_seconds)
    put_conditions(message, node.conditions)
    message.create_time.FromDatetime(datetime.fromtimestamp(node.create_seconds, UTC))
    if node.drain_deadline is not None:
        message.drain_deadline.FromDatetime(datetime.fromtimestamp(node.drain_deadline, UTC))
    return message


def _device_pb(device: Device) -> node_pb2.Device:
    return node_pb2.Device(
        id=device.id,
        name=device.name,
        vendor=device.vendor,
        total_memory_bytes=device.total_bytes,
        free_memory_bytes=device.free_bytes,
        compute_capability=device.compute_capability,
        capacity_bytes=device.capacity_bytes,
    )


def node_message(node: Node) -> types.Node:
    """A node as workers and admins see it."""
    return types.Node.parse(node_pb(node).SerializeToString())


def devices(messages: list[types.Device]) -> tuple[Device, ...]:
    """Devices as a worker reports them."""
    return tuple(_device(d) for d in messages)


def _device(message: types.Device | node_pb2.Device) -> Device:
    return Device(
        message.id,
        message.name,
        message.vendor,
        message.total_memory_bytes,
        message.free_memory_bytes,
        message.compute_capability,
        message.capacity_bytes,
    )


def replica_pb(replica: Replica) -> replica_pb2.Replica:
    """A replica as gateways see it."""
    message = replica_pb2.Replica(
        id=replica.id,
        model=replica.model,
        index=replica.index,
        revision=replica.revision,
        node_id=replica.node_id,
        address=replica.address,
        state=f"REPLICA_STATE_{replica.state.name}",
        slot_count=replica.slot_count,
        max_queue_count=replica.max_queue_count,
        memory_bytes=replica.memory_bytes,
        pid=replica.pid,
        shares=[
            replica_pb2.DeviceShare(device_id=s.device_id, size_bytes=s.size_bytes) for s in replica.shares
        ],
        awaits_memory=not replica.begun,
        problem=replica.problem,
        unreachable=replica.unreachable,
    )
    if replica.load_seconds:
        message.load_duration.FromMicroseconds(int(replica.load_seconds * 1e6))
    return message


def replica_message(replica: Replica) -> types.Replica:
    """A replica as admins see it."""
    return types.Replica.parse(replica_pb(replica).SerializeToString())


def replica(message: types.Replica | replica_pb2.Replica, node_id: str) -> Replica:
    """A replica as its worker reports it; the caller says which node it is on."""
    name = replica_pb2.ReplicaState.Name(int(message.state)).removeprefix("REPLICA_STATE_")
    return Replica(
        id=message.id,
        model=message.model,
        index=message.index,
        revision=message.revision,
        node_id=node_id,
        address=message.address,
        state=ReplicaState[name],
        slot_count=message.slot_count,
        max_queue_count=message.max_queue_count,
        memory_bytes=message.memory_bytes,
        pid=message.pid,
        problem=message.problem,
    )


def model_pb(model: Model) -> model_pb2.Model:
    """A model as gateways and backends see it."""
    return model_pb2.Model(
        name=model.name,
        backend=model.backend,
        revision=model.revision,
        path=model.path,
        context_size=model.context_size,
        thread_count=model.thread_count,
        slot_count=model.slot_count,
        max_queue_count=model.max_queue_count,
        options=model.options,
        size_bytes=model.size_bytes,
        created_seconds=model.created_seconds,
        kv_bytes=model.kv_bytes,
        half_bytes=model.half_bytes,
        pinned=model.pinned,
        concurrency_groups=model.concurrency_groups,
        device_limit=model.device_limit,
        can_spill=model.can_spill,
        cpu_limit=model.cpu_limit,
        memory_limit_bytes=model.memory_limit_bytes,
        purpose=f"MODEL_PURPOSE_{model.purpose.name}",
        about=about_pb(model.about),
    )


def model_message(model: Model) -> types.Model:
    """A model in a command to a worker."""
    return types.Model.parse(model_pb(model).SerializeToString())


def node_of(
    raw: bytes,
    *,
    state: str,
    approved: bool,
    token_sha256: bytes,
    generation: int,
    content_ids: frozenset[str] = frozenset(),
) -> Node:
    """A node as the database holds it."""
    message = node_pb2.Node.FromString(raw)
    return Node(
        id=message.id,
        name=message.name,
        state=NodeState(state),
        approved=approved,
        address=message.address,
        labels=dict(message.labels),
        devices=tuple(_device(d) for d in message.devices),
        engines=tuple(message.engines),
        max_replicas_per_model=message.max_replicas_per_model,
        token_sha256=token_sha256,
        generation=generation,
        create_seconds=message.create_time.ToDatetime(UTC).timestamp(),
        worker_labels=dict(message.worker_labels),
        admin_labels=dict(message.admin_labels),
        disk_total_bytes=message.disk_total_bytes,
        disk_free_bytes=message.disk_free_bytes,
        left_by_itself=message.left_by_itself,
        worker_max_replicas=message.worker_max_replicas_per_model,
        admin_max_replicas=message.admin_max_replicas_per_model
        if message.HasField("admin_max_replicas_per_model")
        else None,
        drain_deadline=message.drain_deadline.ToDatetime(UTC).timestamp()
        if message.HasField("drain_deadline")
        else None,
        advertised_address=message.advertised_address,
        max_replicas=message.max_replicas,
        idle_limit_seconds=idle_limit_of(message),
        conditions=conditions_of(message),
        worker_memory_budget=message.worker_memory_budget,
        admin_memory_budget=message.admin_memory_budget if message.HasField("admin_memory_budget") else None,
        shared_models=message.shared_models,
        content_ids=content_ids,
        cpu_engines=tuple(message.cpu_engines),
        unavailable_engines=dict(message.unavailable_engines),
    )


def replica_of(raw: bytes) -> Replica:
    """A replica as the database holds it."""
    message = replica_pb2.Replica.FromString(raw)
    return replace(
        replica(message, message.node_id),
        shares=tuple(Share(s.device_id, s.size_bytes) for s in message.shares),
        begun=not message.awaits_memory,
        load_seconds=message.load_duration.ToMicroseconds() / 1e6,
        unreachable=message.unreachable,
    )


def model_of(raw: bytes) -> Model:
    """A model as the database holds it."""
    message = model_pb2.Model.FromString(raw)
    return Model(
        name=message.name,
        backend=message.backend,
        revision=message.revision,
        path=message.path,
        context_size=message.context_size,
        thread_count=message.thread_count,
        slot_count=message.slot_count,
        max_queue_count=message.max_queue_count,
        options=dict(message.options),
        size_bytes=message.size_bytes,
        created_seconds=message.created_seconds,
        kv_bytes=message.kv_bytes,
        half_bytes=message.half_bytes,
        pinned=message.pinned,
        concurrency_groups=tuple(message.concurrency_groups),
        device_limit=message.device_limit,
        can_spill=message.can_spill,
        cpu_limit=message.cpu_limit,
        memory_limit_bytes=message.memory_limit_bytes,
        purpose=ModelPurpose[model_pb2.ModelPurpose.Name(message.purpose).removeprefix("MODEL_PURPOSE_")],
        about=about_of(message.about),
    )


def policy_pb(policy: Policy) -> policy_pb2.Policy:
    """A scheduling policy as gateways, admins and the database see it."""
    message = policy_pb2.Policy(
        model_name=policy.model,
        node_selector=policy.node_selector,
        min_replicas=policy.min_replicas,
        max_replicas=policy.max_replicas,
        spread_all=policy.spread_all,
        route_policy=policy.route_policy.value,
        balance_abs_threshold=policy.balance_abs_threshold,
        balance_rel_threshold=policy.balance_rel_threshold,
        min_prefix_match=policy.min_prefix_match,
    )
    put_warmth(message, policy)
    return message


def policy_message(policy: Policy) -> types.Policy:
    """A scheduling policy in an answer to an admin."""
    return types.Policy.parse(policy_pb(policy).SerializeToString())


def policy_of(raw: bytes) -> Policy:
    """A scheduling policy as the database holds it."""
    message = policy_pb2.Policy.FromString(raw)
    return Policy(
        model=message.model_name,
        node_selector=dict(message.node_selector),
        min_replicas=message.min_replicas,
        max_replicas=message.max_replicas,
        spread_all=message.spread_all,
        route_policy=RoutePolicy(message.route_policy),
        balance_abs_threshold=message.balance_abs_threshold,
        balance_rel_threshold=message.balance_rel_threshold,
        min_prefix_match=message.min_prefix_match,
        **warmth_of(message),
    )


def update_pb(changes: Changes, *, full: bool) -> routing_service_pb2.WatchFleetResponse:
    """A change as gateways see it."""
    return routing_service_pb2.WatchFleetResponse(
        sequence=changes.sequence,
        full=full,
        nodes=[node_pb(n) for n in changes.nodes],
        replicas=[replica_pb(r) for r in changes.replicas],
        models=[model_pb(m) for m in changes.models],
        removed_node_ids=changes.gone_nodes,
        removed_replica_ids=changes.gone_replicas,
        removed_models=changes.gone_models,
        policies=[policy_pb(p) for p in changes.policies],
        removed_policies=changes.gone_policies,
    )


def load_status_pb(job: LoadJob, model: Model, node: str, now: float) -> routing_service_pb2.LoadStatus:
    """How far a load is, as those who wait see it; `node` is its name, and `now` seconds since 1970."""
    status = routing_service_pb2.LoadStatus(
        model=job.model,
        state=f"LOAD_STATE_{job.state.name}",
        node=node,
        progress=job.progress,
        total_bytes=job.total_bytes or model.size_bytes,
        message=job.message,
        replica_id=job.replica_id,
        staged_bytes=job.staged_bytes,
    )
    status.start_time.FromDatetime(datetime.fromtimestamp(job.start_seconds, UTC))
    status.progress_time.FromDatetime(datetime.fromtimestamp(job.progress_seconds, UTC))
    eta = eta_seconds(job, now)
    if eta is not None:
        status.eta.FromMilliseconds(int(eta * 1000))
    return status
