"""Find a load its place: decide, write it down before others decide, make room, and wait where time will help."""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import assert_never
from uuid import uuid4

from weft_common.clock import Clock
from weft_common.errors import NoCapacity
from weft_common.events import Journal
from weft_router.fleet.entities import Model, Node, Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.lifecycle import ReplicaEvent, move_replica
from weft_router.fleet.load_job import LoadState
from weft_router.fleet.views import may_begin
from weft_router.loading.commands import Commands
from weft_router.loading.flight import Flight
from weft_router.loading.told import tell_place
from weft_router.placement.decide import decide
from weft_router.placement.decision import Decision, Evict, Join, Placed, Refuse, Serve, Wait
from weft_router.placement.request import Request, request_for
from weft_router.placement.rules import EvictionRules
from weft_router.silence import Silence
from weft_router.store.protocol import PlaceTaken, Store
from weft_router.sync import FleetSync

# Reports, heartbeats and rows wake a waiting load; this is for what none of them tells, such as a residency that ends.
_LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a load goes."""

    node: Node
    replica: Replica


@dataclass(slots=True)
class Search:
    """One load's search; `avoid` are nodes that failed it, and `returns` how often those may be tried again.

    A worker that is restarted answers again in a moment; one whose process died while it loaded is not tried again.
    """

    flight: Flight
    model: Model
    since: float
    deadline: float
    avoid: set[str] = field(default_factory=set)
    returns: int = 8


class Seats:
    """Decides for one load at a time, so that no two decisions of this router are made of the same snapshot."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        store: Store,
        sync: FleetSync,
        commands: Commands,
        clock: Clock,
        journal: Journal,
        rules: EvictionRules,
        silence_seconds: float,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._commands = commands
        self._clock = clock
        self._journal = journal
        self._rules = rules
        self._silence = Silence(fleet=fleet, clock=clock, seconds=silence_seconds)
        self._rng = Random()
        self._deciding = asyncio.Lock()

    async def find(self, search: Search) -> Seat | None:
        """A place whose memory is free; None where the model is served already. Raises NoCapacity with the reason."""
        while True:
            decision, seat = await self._decided(search)
            match decision:
                case Serve():
                    return None
                case Placed():
                    return seat
                case Evict():
                    await self._clear(decision)
                    begun = await self.begin(search, seat) if seat else None
                    if begun is not None:
                        return begun
                case Join():
                    await self._pause(search, "another load of it is under way", None)
                case Wait():
                    await self._pause(search, decision.reason, decision.until)
                case Refuse() if search.avoid and search.returns:
                    search.returns -= 1
                    search.avoid.clear()
                    await self._pause(search, decision.reason, None)
                case Refuse():
                    raise _refusal(search.model, decision.reason, decision.retry_after_seconds)
                case _:
                    assert_never(decision)

    async def _decided(self, search: Search) -> tuple[Decision, Seat | None]:
        """A decision, and its place as it was written down; decided again where somebody else was quicker."""
        async with self._deciding:
            while True:
                decision = self._decide(search)
                try:
                    return decision, await self._write_down(search, decision)
                except PlaceTaken:
                    await self._sync.refresh()

    async def begin(self, search: Search, seat: Seat) -> Seat | None:
        """Wait until the memory that was promised is free; None if it does not come free in time."""
        while True:
            snapshot = self._fleet.snapshot()
            view = snapshot.by_id.get(seat.node.id)
            if view is not None and may_begin(view, seat.replica.id):
                replica = replace(seat.replica, begun=True)
                job = replace(search.flight.job, state=LoadState.INSTALLING, message="")
                try:
                    await self._store.loads.reserve(job, replica, [], seen=snapshot.revision)
                except PlaceTaken:
                    await self._sync.refresh()
                    continue
                search.flight.job = job
                await self._sync.after_write()
                return Seat(view.node, replica)
            if self._clock.monotonic() >= search.deadline or seat.replica.id not in self._fleet.replicas:
                await self._give_back(search, seat.replica)
                return None
            await self._sync.pulse.wait(_LOOK_SECONDS)

    def _decide(self, search: Search) -> Decision:
        snapshot = self._fleet.snapshot()
        job = search.flight.job
        request = replace(
            request_for(search.model, snapshot, node_id=job.wanted_node_id, another=not job.shared),
            avoid=self._silence.nodes() | search.avoid,
            may_evict=job.may_evict,
            since=search.since,
            deadline=search.deadline,
        )
        decision = decide(request, snapshot, now=self._clock.monotonic(), rng=self._rng, rules=self._rules)
        _log_decision(request, decision)
        return decision

    async def _write_down(self, search: Search, decision: Decision) -> Seat | None:
        if not isinstance(decision, Placed | Evict):
            return None
        victims = decision.victims if isinstance(decision, Evict) else ()
        leaving = [
            replace(r, state=move_replica(r.state, ReplicaEvent.UNLOAD_ASKED, f"{r.id} of {r.model}"))
            for r in victims
        ]
        replica = Replica(
            id=f"r-{uuid4().hex[:12]}",
            model=search.model.name,
            index=decision.replica_index,
            revision=search.model.revision,
            node_id=decision.node.id,
            address="",
            state=ReplicaState.LOADING,
            shares=decision.shares,
            begun=isinstance(decision, Placed),
        )
        job = replace(
            search.flight.job,
            state=LoadState.INSTALLING if replica.begun else LoadState.PENDING,
            replica_id=replica.id,
            node_id=decision.node.id,
            message=_awaits(decision),
        )
        snapshot, now = self._fleet.snapshot(), self._clock.monotonic()
        await self._store.loads.reserve(job, replica, leaving, seen=decision.explanation.revision)
        tell_place(self._journal, job, decision, replica, snapshot=snapshot, now=now)
        search.flight.job = job
        await self._sync.after_write()
        return Seat(decision.node, replica)

    async def _clear(self, decision: Evict) -> None:
        await asyncio.gather(
            *(self._commands.stop(decision.node, r, force=decision.forced) for r in decision.victims)
        )

    async def _pause(self, search: Search, reason: str, until: float | None) -> None:
        """Wait for the fleet to change; raises NoCapacity once there is no time left."""
        left = search.deadline - self._clock.monotonic()
        if left <= 0:
            raise _refusal(search.model, reason, _LOOK_SECONDS)
        search.flight.job = replace(search.flight.job, message=reason)
        ripe = _LOOK_SECONDS if until is None else until - self._clock.monotonic()
        await self._sync.pulse.wait(min(left, max(ripe, 0.01), _LOOK_SECONDS))

    async def _give_back(self, search: Search, replica: Replica) -> None:
        """Leave a place whose memory did not come free; what was to go for it goes all the same."""
        search.flight.job = replace(search.flight.job, replica_id="", node_id="", message="")
        await self._store.loads.put(search.flight.job)  # first, since it tells whether the load is still ours
        await self._store.remove_replicas([replica.id])
        await self._sync.after_write()


def _refusal(model: Model, reason: str, retry_after_seconds: float) -> NoCapacity:
    return NoCapacity(
        f"No node can take '{model.name}': {reason}.", retry_after=timedelta(seconds=retry_after_seconds)
    )


def _awaits(decision: Placed | Evict) -> str:
    if isinstance(decision, Placed):
        return ""
    names = ", ".join(f"{v.model}#{v.index}" for v in decision.victims)
    return f"waits until {names or 'memory'} is gone from {decision.node.name}"


def _log_decision(request: Request, decision: Decision) -> None:
    fields: dict[str, object] = {
        "model": request.model.name,
        "decision": type(decision).__name__.lower(),
        "fleet": decision.explanation.revision,
        "excluded": dict(decision.explanation.counts),
    }
    match decision:
        case Placed() | Evict():
            fields |= {"node": decision.node.name, "index": decision.replica_index}
            if isinstance(decision, Evict):
                fields |= {"victims": [v.id for v in decision.victims], "forced": decision.forced}
        case Wait() | Refuse():
            fields |= {"reason": decision.reason}
        case _:
            pass
    level = logging.DEBUG if isinstance(decision, Wait | Join) else logging.INFO
    _log.log(level, "placement_decided", extra=fields)
