"""Builds a backend process from its launch document, and ends it in order."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from weft_common.clock import Clock
from weft_common.process import start_time
from weft_common.rpc import RpcServer
from weft_worker.backend.admission import Admission, Refusal
from weft_worker.backend.anthropic_service import anthropic_methods
from weft_worker.backend.backend_service import BackendService
from weft_worker.backend.busy_watchdog import BusyWatchdog
from weft_worker.backend.changes import Changes
from weft_worker.backend.chat_service import chat_methods
from weft_worker.backend.ending import Ending
from weft_worker.backend.inference import Inference
from weft_worker.backend.launch import LaunchDocument
from weft_worker.backend.lease import Hello, LeaseState, Load, PicksOfGateway, StateChange, Stop
from weft_worker.backend.lease_clock import LeaseClock, Standing
from weft_worker.backend.lease_keeper import Reporter, keep_lease
from weft_worker.backend.ollama_service import ollama_methods
from weft_worker.backend.openai_service import openai_methods
from weft_worker.backend.picks import PicksSeen
from weft_worker.backend.progress import EngineProgress
from weft_worker.backend.reading_service import reading_methods
from weft_worker.backend.replica import MakeEngine, Replica
from weft_worker.backend.rest_reading_service import rest_reading_methods
from weft_worker.backend.told import Told
from weft_worker.backend.works import Works

_ORPHAN_GRACE_SECONDS = 5.0
# For requests that are not to blame: those that run may finish, and gateways that have not heard yet send some more.
_WATCHDOG_GRACE_SECONDS = 2.0
_WATCHDOG_LINGER_SECONDS = 1.0
# For what must still be written after the grace; less than the agent waits then before it kills.
_LAST_WORDS_SECONDS = 0.25
# Gateways hear of a stop by way of a router: that takes them milliseconds.
_QUIET_SECONDS = 0.3
# The server cancels calls that reach it while it stops, and a client would take that for its own doing: those who did
# not know of the end are refused first, so that another replica serves them.
_REFUSE_SECONDS = 0.1
# Of a gentle stop they are refused until nobody comes any more, for this long at most: nobody is about to kill us.
_REFUSE_ALL_SECONDS = 2.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Everything that one process consists of."""

    document: LaunchDocument
    replica: Replica
    admission: Admission
    picks_seen: PicksSeen
    progress: EngineProgress
    changes: Changes
    clock: Clock
    ending: Ending
    watchdog: BusyWatchdog
    told: Told


async def serve(document: LaunchDocument, make_engine: MakeEngine, clock: Clock, ending: Ending) -> None:
    """Serve until somebody wishes the end, or the agent was gone for too long; then finish in order."""
    async with asyncio.TaskGroup() as tasks:
        parts = _build(document, make_engine, clock, ending, tasks)
        inference = Inference(
            parts.replica,
            parts.admission,
            parts.picks_seen,
            clock,
            tasks,
            watchdog=parts.watchdog,
            progress=parts.progress,
        )
        service = BackendService(parts.replica, parts.admission, inference, parts.told)
        async with RpcServer(
            upb=[
                *service.methods(),
                *chat_methods(inference),
                *reading_methods(inference),
                *openai_methods(inference),
                *anthropic_methods(inference),
                *rest_reading_methods(inference),
                *ollama_methods(inference),
            ],
            mesh_secret=document.mesh_secret,
            mesh_only=["/weft.backend.v1."],
        ) as server:
            service.address = _listen(server, document.listen)
            await server.start()
            loops = [
                tasks.create_task(_keep_health(parts, server)),
                tasks.create_task(_keep_lease(parts, inference.works, service.address)),
            ]
            await ending.wished()
            await _end(parts, inference, server)
        for loop in loops:
            loop.cancel()


def _build(
    document: LaunchDocument,
    make_engine: MakeEngine,
    clock: Clock,
    ending: Ending,
    tasks: asyncio.TaskGroup,
) -> _Parts:
    changes = Changes()
    model = document.model

    def bitten() -> None:
        changes.tell()
        ending.wish("busy_watchdog", _WATCHDOG_GRACE_SECONDS, linger_seconds=_WATCHDOG_LINGER_SECONDS)

    return _Parts(
        document=document,
        replica=Replica(document, make_engine, tasks, changes),
        admission=Admission(model.slot_count, model.max_queue_count, on_change=changes.tell),
        picks_seen=PicksSeen(on_change=changes.tell),
        progress=EngineProgress(clock),
        changes=changes,
        clock=clock,
        ending=ending,
        watchdog=BusyWatchdog(document.busy_limit_seconds, clock, bitten),
        told=Told(),
    )


def _listen(server: RpcServer, listen: str) -> str:
    host, _, wanted = listen.rpartition(":")
    try:
        port = server.listen(listen)
    except RuntimeError:
        # gRPC does not tell why, and the system does: the agent tries another port where this one is taken.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host.strip("[]"), int(wanted)), family=family).close()
        raise
    address = f"{host}:{port}"
    _logger.info("backend_listening", extra={"address": address})
    return address


async def _end(parts: _Parts, inference: Inference, server: RpcServer) -> None:
    """Let those that run finish, tell the rest why they are cut off; those that wait go elsewhere if it is urgent.

    The server itself stops after that: its cancelling looks like a clean end of the answer to HTTP clients.
    """
    quiet = parts.ending.gentle and await parts.ending.linger(inference.quiet(_QUIET_SECONDS))
    parts.admission.refuse_new(Refusal.STOPPING)
    if not parts.ending.gentle:
        parts.admission.turn_away_waiting()
    parts.replica.abandon_load()
    if not await parts.ending.let_finish(inference.all_left()):
        inference.fail_running()
    if not quiet:
        await asyncio.sleep(_REFUSE_SECONDS)
    if not quiet and parts.ending.gentle:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(inference.quiet(_REFUSE_SECONDS), _REFUSE_ALL_SECONDS)
    await server.stop(_LAST_WORDS_SECONDS)
    inference.abandon_work()


async def _keep_health(parts: _Parts, server: RpcServer) -> None:
    """Tell health whether inference calls would be let in, whenever that may have changed."""
    while True:
        seen = parts.changes.version
        server.set_serving(parts.replica.state is LeaseState.READY and parts.admission.is_open)
        await parts.changes.after(seen)  # no deadline: without a change there is nothing to tell


async def _keep_lease(parts: _Parts, works: Works, address: str) -> None:
    document = parts.document
    lease = LeaseClock(document.lease_seconds, document.orphan_seconds, lost=parts.clock.monotonic())
    reporter = Reporter(
        hello=lambda: _hello(parts, address),
        state=lambda: _state(parts),
        load=lambda: _load(parts, works),
        on_standing=_standing_handler(parts),
        on_stop=lambda stop: _stop(parts, stop),
        on_told=parts.told.note,
    )
    await keep_lease(document.agent_socket, reporter, parts.changes, lease, parts.clock)


def _standing_handler(parts: _Parts) -> Callable[[Standing], None]:
    def on_standing(standing: Standing) -> None:
        match standing:
            case Standing.HELD:
                parts.admission.accept_new(Refusal.AGENT_LOST)
            case Standing.EXPIRED:
                parts.admission.refuse_new(Refusal.AGENT_LOST)
            case Standing.ORPHANED:
                parts.ending.wish("orphaned", _ORPHAN_GRACE_SECONDS)

    return on_standing


def _stop(parts: _Parts, stop: Stop) -> None:
    serves = parts.replica.state is LeaseState.READY
    parts.ending.wish("agent", stop.grace_seconds, linger_seconds=stop.linger_seconds if serves else 0)


def _hello(parts: _Parts, address: str) -> Hello:
    document = parts.document
    return Hello(
        replica_id=document.replica_id,
        pid=os.getpid(),
        start_time=start_time(os.getpid()) or 0,
        token=document.lease_token,
        model=document.model.name,
        index=document.index,
        revision=document.model.revision,
        address=address,
        state=parts.replica.state,
        slot_count=document.model.slot_count,
        max_queue_count=document.model.max_queue_count,
    )


def _state(parts: _Parts) -> StateChange:
    """Where the process stands; bitten by its watchdog it is as good as gone, while it still takes what comes."""
    if parts.watchdog.has_bitten and parts.replica.state is LeaseState.READY:
        return StateChange(state=LeaseState.UNLOADING)
    return StateChange(state=parts.replica.state, message=parts.replica.failure)


def _load(parts: _Parts, works: Works) -> Load:
    admission = parts.admission
    return Load(
        in_flight=admission.in_flight_count,
        queued=admission.queued_count,
        picks=tuple(
            PicksOfGateway(gateway_id=gateway_id, contiguous=seen.contiguous, beyond=seen.beyond)
            for gateway_id, seen in parts.picks_seen.snapshot()
        ),
        works=works.snapshot(),
        started=admission.started_count,
        ended=admission.ended_count,
        keep_alive_seconds=parts.replica.keep_alive_seconds,
        busy_seconds=parts.watchdog.longest_seconds(),
        stalled_seconds=parts.progress.stalled_seconds,
        stuck_seconds=parts.progress.stuck_seconds,
    )
