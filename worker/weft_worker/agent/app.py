"""Builds a worker's agent from its settings and runs it until it is told to stop."""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Sequence

from weft_common.background import background
from weft_common.clock import SystemClock
from weft_common.home import write_private
from weft_common.part import PartState
from weft_common.process import start_time
from weft_common.rpc import RpcServer, open_channel
from weft_worker.agent.addresses import advertised, literal
from weft_worker.agent.command_service import follow_bus
from weft_worker.agent.enrolment import Enrolment, EnrolmentSettings
from weft_worker.agent.hardware import NvidiaGpus, gpu_labels, installed_engines
from weft_worker.agent.installation import InstallationSettings
from weft_worker.agent.launcher import BACKEND_COMMAND
from weft_worker.agent.lease_server import serve_leases
from weft_worker.agent.load_relay import LoadRelay
from weft_worker.agent.membership import CurrentMembership
from weft_worker.agent.node_report import NodeReport
from weft_worker.agent.records import ReplicaRecords
from weft_worker.agent.roster import Roster
from weft_worker.agent.state_folder import StateFolder, open_state_folder
from weft_worker.agent.supervisor import Supervisor
from weft_worker.settings import Address, WorkerSettings

# With the kill's margin and the farewell below the 2.5 s that `weft up` gives to its workers.
_STOP_GRACE_SECONDS = 1.2

_log = logging.getLogger(__name__)


async def run(
    settings: WorkerSettings, stop: asyncio.Event, *, backend_command: Sequence[str] = BACKEND_COMMAND
) -> None:
    """Serve until `stop` is set, then stop the replicas; a crash leaves them for the next agent."""
    with open_state_folder(settings.state_dir) as folder:
        async with RpcServer() as server:
            bound = Address(settings.addr.host, server.listen(str(settings.addr)))
            installation = _installation(settings, folder, bound, backend_command)
            await _run_agent(settings, installation, server, bound=bound, stop=stop)
        folder.agent_record.unlink(missing_ok=True)


async def _run_agent(
    settings: WorkerSettings,
    installation: InstallationSettings,
    server: RpcServer,
    *,
    bound: Address,
    stop: asyncio.Event,
) -> None:
    folder = installation.folder
    address = advertised(bound, settings.advertise_addr, settings.register_to)
    news = asyncio.Event()
    clock = SystemClock()
    relay = LoadRelay(f"{settings.node_name}/{secrets.token_hex(6)}", clock)
    records = ReplicaRecords(folder.replicas)
    roster = Roster(
        records=records,
        relay=relay,
        clock=clock,
        advertised_host=await asyncio.to_thread(literal, address.host),
        changed=news.set,
    )
    current = CurrentMembership(folder.membership)
    gpus = NvidiaGpus()

    def note(state: PartState) -> None:
        _write_agent_record(folder, settings.node_name, address, state)

    def joined() -> None:
        server.set_serving(True)
        note(PartState.READY)

    async with asyncio.TaskGroup() as tasks, open_channel(settings.register_to) as channel:
        supervisor = Supervisor(installation, roster=roster, records=records, clock=clock, tasks=tasks)
        enrolment = Enrolment(
            _enrolment(settings, address, gpus),
            channel=channel,
            current=current,
            supervisor=supervisor,
            roster=roster,
            report=NodeReport(budget=settings.memory_budget, gpus=gpus, supervisor=supervisor),
            news=news,
            on_joined=joined,
        )
        note(PartState.STARTING)
        supervisor.adopt(current.value)
        await server.start()
        async with serve_leases(folder.socket(), roster):
            bus = follow_bus(current, name=f"worker-{settings.node_name}", supervisor=supervisor, relay=relay)
            async with background(enrolment.stay(), bus, supervisor.sweep()):
                await stop.wait()
                server.set_serving(False)
                await supervisor.stop_all(_STOP_GRACE_SECONDS)
        await enrolment.farewell()


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
        backend_command=backend_command,
    )


def _enrolment(settings: WorkerSettings, address: Address, gpus: NvidiaGpus) -> EnrolmentSettings:
    return EnrolmentSettings(
        name=settings.node_name,
        address=str(address),
        labels={**gpu_labels(gpus.devices()), **settings.node_labels},
        engines=installed_engines(),
        max_replicas_per_model=settings.max_replicas_per_model,
        registration_token=settings.registration_token.get_secret_value(),
        heartbeat_seconds=settings.heartbeat_interval.total_seconds()
        if settings.heartbeat_interval
        else None,
        nats_url=settings.nats_url.get_secret_value() if settings.nats_url else None,
    )


def _write_agent_record(folder: StateFolder, node_name: str, address: Address, state: PartState) -> None:
    record = {
        "name": f"worker-{node_name}",
        "pid": os.getpid(),
        "start_time": start_time(os.getpid()),
        "state": state,
        "address": str(address),
    }
    write_private(folder.agent_record, json.dumps(record))
