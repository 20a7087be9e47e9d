"""Builds a worker's agent from its settings and runs it until it is told to stop."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from weft_common import systemd
from weft_common.background import background
from weft_common.clock import SystemClock
from weft_common.http_health import serving_health
from weft_common.part import PartState
from weft_common.remote_backends import REMOTE_BACKENDS
from weft_common.rpc import RpcServer, open_channel
from weft_common.rpc.runtime import Stop
from weft_proto.weft.types.v1 import NodeState
from weft_worker.agent.addresses import advertised, literal
from weft_worker.agent.announcement import announcement
from weft_worker.agent.command_service import follow_bus
from weft_worker.agent.devices.inventory import FIRST_SECONDS
from weft_worker.agent.disk import ModelsDisk
from weft_worker.agent.enrolment import Enrolment, EnrolmentSettings
from weft_worker.agent.installation import InstallationSettings
from weft_worker.agent.launcher import BACKEND_COMMAND
from weft_worker.agent.lease_server import serve_leases
from weft_worker.agent.limits import Limits
from weft_worker.agent.log_book import LogBook
from weft_worker.agent.log_service import LogService
from weft_worker.agent.membership import CurrentMembership
from weft_worker.agent.memory_limits import MemoryLimits
from weft_worker.agent.node_report import NodeReport
from weft_worker.agent.notes import NotesInTurn
from weft_worker.agent.parts import Parts, Place, build
from weft_worker.agent.pid_one import look_after_orphans
from weft_worker.agent.readiness import Readiness
from weft_worker.agent.shutdown import shut_down
from weft_worker.agent.state_folder import StateFolder, open_state_folder
from weft_worker.agent.stopping import Patience
from weft_worker.agent.stored_files import StoredFiles, open_files
from weft_worker.engines.availability import engine_report
from weft_worker.engines.registry import with_aliases
from weft_worker.settings import Address, WorkerSettings

# A sender of files that is stopped or unplugged holds memory here for no longer.
_SILENCE_SECONDS = 15.0
# A disk that works takes a few small files in less.
_NOTES_SECONDS = 2.0


async def run(
    settings: WorkerSettings,
    stop: Stop,
    *,
    backend_command: Sequence[str] = BACKEND_COMMAND,
    on_ended: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set, then stop the replicas; a crash leaves them for the next agent.

    `on_ended` is told once they have ended, and all that is left is to clear up.
    """
    with open_state_folder(settings.state_dir) as folder:
        notes = NotesInTurn()
        current = CurrentMembership(folder.membership, notes)
        logs = LogBook(folder.logs, SystemClock(), notes)
        async with (
            open_files(settings, folder, current.mesh_secret) as files,
            _server(LogService(logs, node_name=settings.node_name), files, current) as server,
            open_channel(settings.register_to) as channel,
        ):
            bound = Address(settings.addr.host, server.listen(str(settings.addr)))
            address = await asyncio.to_thread(
                advertised, bound, settings.advertise_addr, settings.register_to
            )
            async with asyncio.TaskGroup() as tasks:
                place = Place(
                    installation=_installation(settings, folder, bound, backend_command),
                    address=address,
                    advertised_host=await asyncio.to_thread(literal, address.host),
                    current=current,
                    files=files,
                    logs=logs,
                    notes=notes,
                    tasks=tasks,
                )
                await _serve(build(settings, place), server, channel, stop, on_ended)
        notes.remove(folder.agent_record)
        await notes.written(_NOTES_SECONDS)


def _server(logs: LogService, files: StoredFiles, current: CurrentMembership) -> RpcServer:
    return RpcServer(
        services=[logs],
        upb=files.methods(),
        mesh_secret=current.mesh_secret,
        mesh_only=["/weft.files.v1.", "/weft.worker.v1."],
        silence_seconds=_SILENCE_SECONDS,
    )


async def _serve(
    parts: Parts, server: RpcServer, channel: Any, stop: Stop, on_ended: Callable[[], None]
) -> None:
    readiness = Readiness(SystemClock(), lambda ready: server.set_serving(ready))
    # First: an agent that cannot have its port is none, and what runs waits for another one.
    async with serving_health(parts.settings.health_listen, lambda: readiness.ready):
        parts.note(PartState.STARTING)
        parts.supervisor.adopt(parts.current.value)
        report = _report(parts)
        enrolment = _enrolment(parts, channel, report, readiness)
        # Also while it waits for approval: this agent does all that it can then.
        await server.start()
        systemd.notify(systemd.READY)
        async with (
            serve_leases(parts.folder.socket(), parts.roster),
            background(_take_part(parts, enrolment, report, readiness), *_loops(parts, readiness)),
        ):
            await stop.wait()
            systemd.notify(systemd.STOPPING)
            readiness.close()
            await shut_down(
                supervisor=parts.supervisor,
                enrolment=enrolment,
                patience=parts.settings.shutdown_timeout,
                stop=stop,
            )
            on_ended()
    await enrolment.farewell()


def _loops(parts: Parts, readiness: Readiness) -> list[Coroutine[Any, Any, None]]:
    """What goes on for as long as the agent lives, whether or not it belongs to a fleet."""
    return [
        parts.supervisor.sweep(),
        parts.logs.keep_small(),
        MemoryLimits(parts.roster).keep(),
        parts.vigil.keep(),
        parts.files.keep(),
        readiness.keep(),
        systemd.keep_watchdog_calm(),
        look_after_orphans(),
    ]


def _stand(parts: Parts, state: NodeState) -> None:
    """Show, to `weft status` and to whoever has started this by hand, where it stands in the fleet."""
    parts.note(PartState.STARTING if state is NodeState.PENDING else PartState.READY)
    if sys.stdout.isatty():
        print(announcement(parts.settings.node_name, state, parts.settings.register_to), flush=True)


async def _take_part(parts: Parts, enrolment: Enrolment, report: NodeReport, readiness: Readiness) -> None:
    """Belong to the fleet, for ever, as soon as it is known what there is to offer.

    Drivers and disks may take their time, or hang, and what was adopted must not wait for them; but it is registered
    with what it holds, and nothing new is started while it is not known on which devices.
    """
    await parts.gpus.look(FIRST_SECONDS)
    await parts.holdings.measure()
    await parts.wellbeing.look()
    bus = follow_bus(
        parts.current,
        name=f"worker-{parts.settings.node_name}",
        supervisor=parts.supervisor,
        relay=parts.relay,
        files=parts.files,
        linked=readiness.linked,
    )
    async with background(
        bus, parts.holdings.keep(), parts.memory_watch.keep(report), parts.wellbeing.keep()
    ):
        await enrolment.stay()


def _installation(
    settings: WorkerSettings, folder: StateFolder, bound: Address, backend_command: Sequence[str]
) -> InstallationSettings:
    return InstallationSettings(
        node_name=settings.node_name,
        bind_host=bound.host,
        first_port=settings.addr.port and settings.addr.port + 1,
        folder=folder,
        install_timeout=settings.install_timeout,
        drain_timeout=settings.drain_timeout,
        lease=settings.lease,
        orphan=settings.orphan,
        busy_limit=settings.busy_limit,
        stream_heartbeat=settings.stream_heartbeat,
        default_limits=Limits(settings.replica_cpus, settings.replica_memory),
        cgroup_root=settings.cgroup_root,
        crash_pause=settings.crash_pause,
        last_port=settings.grpc_max_port,
        stop_patience=Patience(
            settings.stop_timeout.total_seconds(), settings.terminate_timeout.total_seconds()
        ),
        backend_command=backend_command,
    )


def _report(parts: Parts) -> NodeReport:
    return NodeReport(
        budget=parts.settings.memory_budget,
        gpus=parts.gpus,
        disk=_disk(parts),
        roster=parts.roster,
        holdings=parts.holdings,
        conditions=parts.wellbeing.conditions,
    )


def _disk(parts: Parts) -> ModelsDisk:
    """The disk where models will be: they are brought to the files, unless this machine sees them as routers do."""
    if parts.settings.shared_models:
        return ModelsDisk(parts.settings.models_path)
    return ModelsDisk(parts.files.path, parts.files.room)


def _enrolment(
    parts: Parts,
    channel: Any,
    report: NodeReport,
    readiness: Readiness,
) -> Enrolment:
    settings = parts.settings
    interval = settings.heartbeat_interval
    described = EnrolmentSettings(
        name=settings.node_name,
        address=str(parts.address),
        labels=dict(settings.node_labels),
        engines=engine_report,
        max_replicas_per_model=settings.max_replicas_per_model,
        max_replicas=settings.max_active_backends,
        idle_limit=settings.idle_limit,
        shared_models=settings.shared_models,
        # What computes elsewhere takes no GPU here.
        cpu_engines=with_aliases((*settings.cpu_engines, *REMOTE_BACKENDS)),
        registration_token=settings.registration_token.get_secret_value(),
        heartbeat_seconds=interval.total_seconds() if interval else None,
        nats_url=settings.nats_url.get_secret_value() if settings.nats_url else None,
    )
    return Enrolment(
        described,
        channel=channel,
        current=parts.current,
        supervisor=parts.supervisor,
        roster=parts.roster,
        report=report,
        clock=SystemClock(),
        news=parts.news,
        on_standing=partial(_stand, parts),
        on_heard=readiness.heard,
        on_refused=readiness.refused,
    )
