"""Loading a model: one load at a time for each model, shared by everybody who waits for it.

The load belongs to the router, not to the request that asked first: a client that leaves ends its own wait only.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from weft_common.bus import Bus
from weft_common.clock import Clock
from weft_common.errors import LoadFailed, ModelLoading, NoCapacity, PartUnavailable, WeftError
from weft_common.mesh_auth import mesh_metadata
from weft_common.rpc import open_channel, stub
from weft_proto.weft.backend.v1 import BackendServiceStub, LoadModelRequest
from weft_proto.weft.bus.v1 import (
    InstallBackendRequest,
    InstallBackendResponse,
    StopBackendRequest,
)
from weft_router import convert
from weft_router.fleet.entities import Model, Node, Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.lifecycle import ReplicaEvent, move_replica
from weft_router.fleet.views import NodeView
from weft_router.placement.decision import Placed, Rejected
from weft_router.placement.filters.filter import Filter
from weft_router.placement.place import FILTERS, place
from weft_router.placement.request import request_for
from weft_router.settings import RouterSettings
from weft_router.store.protocol import PlaceTaken, Store
from weft_router.sync import FleetSync

_PLACE_TRIES = 3
_STOP_SECONDS = 10.0
_SECONDS_PER_GIB = 20

_log = logging.getLogger(__name__)


class _WorkerUnreachable(PartUnavailable):
    """Nobody answers for a node; another one may do."""


class Loads:
    """Runs loads inside `tasks`; state: `_flights` by model and `_loading`, replica ids of loads under way."""

    def __init__(
        self,
        *,
        settings: RouterSettings,
        fleet: Fleet,
        store: Store,
        sync: FleetSync,
        bus: Bus,
        clock: Clock,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._bus = bus
        self._clock = clock
        self._start_time = clock.monotonic()
        self._tasks = tasks
        self._flights: dict[str, asyncio.Future[Replica]] = {}
        self._loading: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> frozenset[str]:
        """Replicas that this router loads just now; reports of their workers must not touch their rows."""
        return frozenset(self._loading)

    async def ensure(self, model: Model, max_wait: float) -> None:
        """Wait up to `max_wait` seconds until a load of the model has ended well; raises its error otherwise."""
        flight = self._flights.get(model.name) or self._start(model, shared=True)
        await self._wait(model, flight, max_wait)

    async def add(self, model: Model, node: Node | None, max_wait: float) -> Replica:
        """Load one more replica, on `node` if given, and wait for it as `ensure` does."""
        return await self._wait(model, self._start(model, node=node), max_wait)

    async def _wait(self, model: Model, flight: "asyncio.Future[Replica]", max_wait: float) -> Replica:
        try:
            async with asyncio.timeout(max_wait):
                return await asyncio.shield(flight)
        except TimeoutError:
            raise ModelLoading(
                f"Model '{model.name}' is still loading; try again shortly.", retry_after=timedelta(seconds=5)
            ) from None

    def close(self) -> None:
        """End every load; what they hold heals by heartbeats."""
        for task in self._running:
            task.cancel()

    def _start(
        self, model: Model, *, node: Node | None = None, shared: bool = False
    ) -> asyncio.Future[Replica]:
        flight: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        # Without a waiter the outcome is in the log; asyncio must not complain that nobody read it.
        flight.add_done_callback(lambda f: f.cancelled() or f.exception())
        if shared:
            self._flights[model.name] = flight
        task = self._tasks.create_task(self._fly(model, node, flight))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return flight

    async def _fly(self, model: Model, node: Node | None, flight: asyncio.Future[Replica]) -> None:
        """Run one load and hand its outcome to whoever waits; nothing escapes to the task group."""
        try:
            self._land(model, flight, await self._load(model, node))
        except WeftError as error:
            _log.warning(
                "load_failed", extra={"model": model.name, "reason": error.reason, "error": str(error)}
            )
            self._land(model, flight, error)
        except Exception as error:  # noqa: BLE001 (outermost edge of the load's task: its waiters must hear of it)
            _log.exception("load_broke", extra={"model": model.name})
            self._land(model, flight, LoadFailed(f"Loading '{model.name}' broke: {error}"))
        finally:
            self._forget(model, flight)
            flight.cancel()

    def _land(self, model: Model, flight: asyncio.Future[Replica], outcome: Replica | WeftError) -> None:
        """Tell the waiters; whoever asks from now on starts a load of his own."""
        self._forget(model, flight)
        if flight.done():
            return
        if isinstance(outcome, WeftError):
            flight.set_exception(outcome)
        else:
            flight.set_result(outcome)

    def _forget(self, model: Model, flight: asyncio.Future[Replica]) -> None:
        if self._flights.get(model.name) is flight:
            del self._flights[model.name]

    async def _load(self, model: Model, wanted: Node | None) -> Replica:
        """Place and bring up; a place that another router took, or a worker that does not answer, is passed over."""
        unreachable: set[str] = set()
        for _ in range(_PLACE_TRIES):
            decision = self._decide(model, wanted, unreachable)
            replica = Replica(
                id=f"r-{uuid.uuid4().hex[:12]}",
                model=model.name,
                index=decision.replica_index,
                revision=model.revision,
                node_id=decision.node.id,
                address="",
                state=ReplicaState.LOADING,
            )
            with self._held(replica, decision):
                try:
                    return await self._load_there(model, decision.node, replica)
                except PlaceTaken:
                    await self._sync.refresh()
                except _WorkerUnreachable:
                    unreachable.add(decision.node.id)
        raise NoCapacity(
            f"'{model.name}' could not be placed in {_PLACE_TRIES} tries; try again.",
            retry_after=timedelta(seconds=2),
        )

    async def _load_there(self, model: Model, node: Node, replica: Replica) -> Replica:
        """Write down where the model goes, so that no other router decides the same, and load it there."""
        try:
            await self._store.put_replica(replica)
            await self._sync.after_write()
            return await self._bring_up(model, node, replica)
        except PlaceTaken:
            raise
        except Exception:
            await self._take_back(node, replica)
            raise

    def _decide(self, model: Model, wanted: Node | None, unreachable: set[str]) -> Placed:
        snapshot = self._fleet.snapshot()
        request = request_for(model, snapshot, node_id=wanted.id if wanted else None)
        decision = place(request, snapshot, filters=(self._answering(unreachable), *FILTERS))
        self._log_decision(model, decision)
        if isinstance(decision, Rejected):
            why = decision.explanation.summary()
            raise NoCapacity(f"No node can take '{model.name}': {why}.", retry_after=timedelta(seconds=10))
        return decision

    def _answering(self, unreachable: set[str]) -> Filter:
        """Nodes that were heard from lately and did not leave this very load unanswered."""

        def answers(view: NodeView) -> bool:
            return view.node.id not in unreachable and self._heard_lately(view.node)

        return Filter(
            "without an answer of their worker",
            lambda views, request, snapshot: [v for v in views if answers(v)],
            lambda view, request: "does not answer",
        )

    def _heard_lately(self, node: Node) -> bool:
        """A router that has just started has heard nobody yet and gives everybody the benefit of the doubt."""
        last = self._fleet.heard.get(node.id, self._start_time)
        return self._clock.monotonic() - last <= self._settings.node_silence.total_seconds()

    def _log_decision(self, model: Model, decision: Placed | Rejected) -> None:
        fields: dict[str, object] = {"model": model.name, "excluded": dict(decision.explanation.counts)}
        if isinstance(decision, Placed):
            fields |= {"node": decision.node.name, "index": decision.replica_index}
        fields["fleet"] = decision.explanation.revision
        _log.info("placed" if isinstance(decision, Placed) else "placement_rejected", extra=fields)

    async def _bring_up(self, model: Model, node: Node, replica: Replica) -> Replica:
        started = await self._install(model, node, replica)
        loaded = await self._load_into(model, started)
        state = move_replica(replica.state, ReplicaEvent.LOADED, f"{replica.id} of {replica.model}")
        ready = replace(
            loaded, id=replica.id, node_id=node.id, index=replica.index, revision=model.revision, state=state
        )
        await self._store.put_replica(ready)
        await self._sync.after_write()
        _log.info("model_loaded", extra={"model": model.name, "node": node.name, "replica": replica.id})
        return ready

    async def _install(self, model: Model, node: Node, replica: Replica) -> Replica:
        """Have the worker start a process."""
        request = InstallBackendRequest(
            operation_id=replica.id,
            generation=node.generation,
            model=convert.model_message(model),
            replica_index=replica.index,
            replica_id=replica.id,
        )
        seconds = self._settings.install_timeout.total_seconds()
        try:
            raw = await self._bus.request(f"weft.node.{node.id}.backend.install", bytes(request), seconds)
        except PartUnavailable as error:
            if error.metadata.get("part") != "worker":
                raise
            raise _WorkerUnreachable(error.message, metadata=error.metadata) from error
        response = InstallBackendResponse.parse(raw)
        if response.error or response.replica is None:
            raise LoadFailed(f"Node '{node.name}' could not start '{model.name}': {response.error}")
        return convert.replica(response.replica, node.id)

    async def _load_into(self, model: Model, replica: Replica) -> Replica:
        """Have the process load the model; raises LoadFailed with the engine's own words."""
        size_gib = model.size_bytes / (1 << 30)
        deadline = self._settings.load_timeout.total_seconds() + _SECONDS_PER_GIB * size_gib
        metadata = mesh_metadata(self._settings.mesh_secret.get_secret_value())
        async with open_channel(replica.address) as channel:
            backend = stub(BackendServiceStub, channel, metadata=metadata, stream_timeout=deadline)
            async for update in backend.load_model(LoadModelRequest(model=convert.model_message(model))):
                if update.replica is not None:
                    return replace(convert.replica(update.replica, replica.node_id), address=replica.address)
        raise LoadFailed(f"The backend of '{model.name}' ended before the model was loaded.")

    async def _take_back(self, node: Node, replica: Replica) -> None:
        """Free everything that a failed load holds; what cannot be reached now heals by heartbeats."""
        stop = StopBackendRequest(generation=node.generation, replica_id=replica.id, force=True)
        try:
            await self._bus.request(f"weft.node.{node.id}.backend.stop", bytes(stop), _STOP_SECONDS)
        except WeftError as error:
            _log.warning("stop_not_delivered", extra={"replica": replica.id, "error": str(error)})
        try:
            await self._store.remove_replicas([replica.id])
            await self._sync.after_write()
        except PartUnavailable as error:
            _log.warning("replica_not_removed", extra={"replica": replica.id, "error": str(error)})

    @contextmanager
    def _held(self, replica: Replica, decision: Placed) -> Iterator[None]:
        """Hold the replica's row, and memory that heartbeats do not show yet, while it loads."""
        self._loading.add(replica.id)
        self._fleet.set_aside(replica.id, decision.shares)
        try:
            yield
        finally:
            self._loading.discard(replica.id)
            if replica.id not in self._fleet.replicas:
                self._fleet.set_aside(replica.id, ())
