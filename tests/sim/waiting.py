"""Requests that wait at a simulated router until somebody serves their model; one decision for all of a model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.sim.process import Ask, Outcome
from tests.sim.store import Down, Stale
from weft_router.fleet.views import Snapshot
from weft_router.placement.decision import Decision, Evict, Join, Placed, Refuse, Serve, Wait
from weft_router.placement.request import request_for

if TYPE_CHECKING:
    from tests.sim.router import Router

_LOOK_SECONDS = 0.5
_TRIES = 3
# What another node may do better, so often and for so long.
_ELSEWHERE = (
    "its node is gone",
    "it took too long",
    "its process ended",
    "it was stopped",
    "its model changed",
)
_STRIKE_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class _Queue:
    """Who waits for a model, the snapshot of the last decision, and until when that one holds."""

    asks: list[Ask] = field(default_factory=list)
    seen: Snapshot | None = None
    until: float = float("-inf")


@dataclass(slots=True, eq=False)
class Waiting:
    """State: `_queues` by model."""

    router: Router
    _queues: dict[str, _Queue] = field(default_factory=dict)
    # Where loads of a model failed, and when.
    _strikes: dict[str, list[tuple[float, str]]] = field(default_factory=dict)

    def start(self) -> None:
        """Look at the fleet for those who wait, again and again."""
        self.router.every(_LOOK_SECONDS, self._look)

    def add(self, ask: Ask) -> None:
        """Take a request that no gateway knows a replica for."""
        self._queues.setdefault(ask.model, _Queue()).asks.append(ask)
        self.router.world.ledger.note("requests that asked a router")
        self._try(ask.model)

    def may_try_elsewhere(self, model: str, node_id: str, cause: str) -> bool:
        """Whether a failed load is tried again on another node before those who wait hear of it."""
        now = self.router.now()
        strikes = [s for s in self._strikes.get(model, ()) if now - s[0] < _STRIKE_SECONDS]
        self._strikes[model] = [*strikes, (now, node_id)]
        return cause in _ELSEWHERE and len(strikes) + 1 < _TRIES

    def abandon(self) -> list[Ask]:
        """Everybody who still waits."""
        asks = [a for q in self._queues.values() for a in q.asks if a.outcome is None]
        self._queues.clear()
        return asks

    def _look(self) -> None:
        for model in list(self._queues):
            self._try(model)

    def _try(self, model: str) -> None:
        try:
            if self.router.knows:
                self._consider(model)
        except (Down, Stale):
            self.router.world.ledger.note("writes put off")

    def _consider(self, model: str) -> None:
        router, queue = self.router, self._queues[model]
        now = router.world.agenda.now
        self._pass_on_failures(model, queue)
        queue.asks = [a for a in queue.asks if a.outcome is None and now < a.deadline]
        if not queue.asks:
            del self._queues[model]
            return
        if queue.seen is router.fleet.snapshot() and router.now() < queue.until:
            return
        if model not in router.fleet.models:
            self._finish(model, queue, "no such model")
            return
        for _ in range(_TRIES):
            decision = self._decide(model, queue)
            try:
                self._act(model, queue, decision)
            except Stale:
                router.world.ledger.note("claims lost to others")
                router.refresh()
            else:
                return

    def _decide(self, model: str, queue: _Queue) -> Decision:
        router, now = self.router, self.router.now()
        snapshot = router.fleet.snapshot()
        elapsed = router.world.agenda.now
        request = replace(
            request_for(snapshot.models[model], snapshot),
            since=now - (elapsed - min(a.since for a in queue.asks)),
            avoid=frozenset(i for t, i in self._strikes.get(model, ()) if now - t < _STRIKE_SECONDS),
            deadline=now + max(a.deadline for a in queue.asks) - elapsed,
        )
        return router.decide(request)

    def _act(self, model: str, queue: _Queue, decision: Decision) -> None:
        match decision:
            case Serve(replicas=replicas):
                del self._queues[model]
                for ask in queue.asks:
                    self.router.world.gateways[ask.gateway].serve(ask, replicas)
                return
            case Placed(node=node, replica_index=index, shares=shares):
                self._load(model, node.id, index, shares, ())
            case Evict(node=node, replica_index=index, shares=shares, victims=victims):
                self._load(model, node.id, index, shares, victims)
                self.router.world.ledger.note("replicas evicted", len(victims))
                for victim in victims:
                    self.router.stop(self.router.fleet.replicas[victim.id], force=decision.forced)
            case Refuse(reason=reason):
                self._finish(model, queue, reason)
                return
            case Join() | Wait():
                pass
        queue.seen = self.router.fleet.snapshot()
        until = decision.until if isinstance(decision, Wait) else None
        queue.until = min(until or float("inf"), self.router.now() + 2.0)

    def _load(self, model: str, node_id: str, index: int, shares: tuple, victims: tuple) -> None:  # type: ignore[type-arg]
        fleet = self.router.fleet
        self.router.loads.begin(fleet.models[model], fleet.nodes[node_id], index, shares, victims, model)

    def _pass_on_failures(self, model: str, queue: _Queue) -> None:
        """A load that failed while they waited has failed for all of them, with the real cause."""
        failure = self.router.world.store.failures.get(model)
        if failure is None:
            return
        for ask in queue.asks:
            if ask.since < failure.time and ask.outcome is None:
                self.router.world.end(ask, Outcome.REFUSED, f"the load failed: {failure.cause}")

    def _finish(self, model: str, queue: _Queue, reason: str) -> None:
        del self._queues[model]
        for ask in queue.asks:
            self.router.world.end(ask, Outcome.REFUSED, reason)
