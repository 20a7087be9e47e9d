"""What an install command becomes: the launch document of a process, and its first record. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from weft_common.purposes import Purpose
from weft_proto.weft.bus.v1 import InstallBackendRequest
from weft_proto.weft.types.v1 import Model, ModelPurpose
from weft_worker.agent.devices.facts import DeviceFacts
from weft_worker.agent.launcher import BACKEND_COMMAND, Started
from weft_worker.agent.limits import Limits
from weft_worker.agent.membership import Membership
from weft_worker.agent.memory_kills import CGROUP_ROOT
from weft_worker.agent.ports import LAST_PORT
from weft_worker.agent.replica import ReplicaRecord
from weft_worker.agent.state_folder import StateFolder
from weft_worker.agent.stopping import Patience
from weft_worker.backend.launch import LaunchDocument, LaunchedModel
from weft_worker.settings import Address

_PURPOSES: Mapping[ModelPurpose, Purpose] = {
    ModelPurpose.EMBEDDING: Purpose.EMBEDDING,
    ModelPurpose.RERANKING: Purpose.RERANKING,
}


@dataclass(frozen=True, slots=True)
class InstallationSettings:
    """What this machine gives to every process."""

    node_name: str
    bind_host: str
    first_port: int
    folder: StateFolder
    install_timeout: timedelta
    drain_timeout: timedelta
    lease: timedelta
    orphan: timedelta
    busy_limit: timedelta | None = None
    stream_heartbeat: timedelta = timedelta(seconds=15)
    cgroup_root: Path = CGROUP_ROOT
    default_limits: Limits = field(default=Limits())
    crash_pause: timedelta = timedelta(seconds=60)
    last_port: int = LAST_PORT
    stop_patience: Patience = field(default=Patience(stop_seconds=5.0, terminate_seconds=5.0))
    backend_command: Sequence[str] = field(default=BACKEND_COMMAND)
    # The devices as they are at the moment of the call.
    devices: Callable[[], Iterable[DeviceFacts]] = tuple


def launch_document(
    request: InstallBackendRequest,
    membership: Membership,
    *,
    settings: InstallationSettings,
    port: int,
    lease_token: str,
) -> LaunchDocument:
    """Write the document; raises pydantic.ValidationError where the model cannot be served."""
    return LaunchDocument(
        replica_id=request.replica_id,
        node_id=membership.node_id,
        node_name=settings.node_name,
        model=_launched_model(request.model or Model()),
        index=request.replica_index,
        device_ids=tuple(request.device_ids),
        listen=str(Address(settings.bind_host, port)),
        mesh_secret=membership.mesh_secret,
        agent_socket=str(settings.folder.socket()),
        lease_token=lease_token,
        lease_seconds=settings.lease.total_seconds(),
        orphan_seconds=settings.orphan.total_seconds(),
        heartbeat_seconds=settings.stream_heartbeat.total_seconds(),
        busy_limit_seconds=settings.busy_limit.total_seconds() if settings.busy_limit else None,
    )


def first_record(
    document: LaunchDocument,
    *,
    operation_id: str,
    content_id: str,
    started: Started,
    port: int,
    log: str,
) -> ReplicaRecord:
    """Write down a process that was just started."""
    return ReplicaRecord(
        name=f"replica:{document.node_name}/{document.model.name}#{document.index}",
        pid=started.pid,
        start_time=started.start_time,
        shim_pid=started.shim.pid,
        shim_start_time=started.shim.start_time,
        replica_id=document.replica_id,
        operation_id=operation_id,
        content_id=content_id,
        node_name=document.node_name,
        model=document.model.name,
        index=document.index,
        revision=document.model.revision,
        slot_count=document.model.slot_count,
        max_queue_count=document.model.max_queue_count,
        size_bytes=document.model.size_bytes,
        device_ids=document.device_ids,
        port=port,
        log=log,
        lease_token=document.lease_token,
        mesh_digest=mesh_digest(document.mesh_secret),
    )


def limits(request: InstallBackendRequest, settings: InstallationSettings) -> Limits:
    """What a replica is kept to: as its model says, or else this machine."""
    model = request.model or Model()
    return Limits(model.cpu_limit, model.memory_limit_bytes).or_else(settings.default_limits)


def mesh_digest(mesh_secret: str) -> str:
    """Name a mesh without telling its secret."""
    return hashlib.sha256(mesh_secret.encode()).hexdigest()[:16]


def _launched_model(model: Model) -> LaunchedModel:
    return LaunchedModel(
        name=model.name,
        backend=model.backend,
        revision=model.revision,
        path=model.path,
        context_size=model.context_size,
        thread_count=model.thread_count,
        slot_count=model.slot_count,
        max_queue_count=model.max_queue_count,
        options=dict(model.options),
        size_bytes=model.size_bytes,
        created_seconds=model.created_seconds,
        purpose=_PURPOSES.get(model.purpose, Purpose.CHAT),
    )
