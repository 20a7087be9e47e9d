"""What the leading one of the simulated routers does at leisure: health, scaling, drains."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.sim.store import Down, Stale
from weft_router.fleet.drain import drain_step
from weft_router.fleet.entities import Node, NodeState, Replica, ReplicaState
from weft_router.fleet.node_life import HealthLimits, aged
from weft_router.fleet.scaling import Grow, Remembered, ScalingRules, Shrink, next_step
from weft_router.placement.decision import Evict, Placed
from weft_router.placement.request import request_for

if TYPE_CHECKING:
    from tests.sim.router import Router

LIMITS = HealthLimits()
SCALING = ScalingRules(idle_seconds=60.0)
DRAIN_SECONDS = 30.0
_LEASE_SECONDS = 4.0
_BREAK_SECONDS = 30.0


@dataclass(slots=True, eq=False)
class Loops:
    """State: everything; it is worth something only while this router leads."""

    router: Router
    leads: bool = False
    _remembered: dict[str, Remembered] = field(default_factory=dict)
    # Until when a model is not tried again that could not get what its policy asks for.
    _broken_until: dict[str, float] = field(default_factory=dict)
    _drains: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Try to lead, and do what leaders do."""
        self.router.every(1.0, self._lead)
        self.router.every(5.0, self._health)
        self.router.every(1.0, self._scale)
        self.router.every(1.0, self._drain)

    def _lead(self) -> None:
        router = self.router
        led = self.leads
        self.leads = router.knows and router.world.store.lead(
            router.identity, router.world.agenda.now, _LEASE_SECONDS
        )
        if self.leads and not led:
            router.world.ledger.note("leaders elected")

    def _health(self) -> None:
        """By the age of what was heard last; whom it never heard, it gives as long as everybody."""
        if not self.leads:
            return
        router, now = self.router, self.router.now()
        for node in list(router.fleet.nodes.values()):
            age = now - router.fleet.heard.get(node.id, router.started)
            after = aged(node, age, LIMITS)
            if after.state is not node.state:
                router.world.ledger.note(f"node {node.state} -> {after.state}")
                self._write_node(after)

    def _write_node(self, node: Node) -> None:
        try:
            self.router.world.store.put_node(node, self.router.fleet.sequence)
        except Stale:
            self.router.world.ledger.note("writes put off")
        self.router.wrote()

    def _scale(self) -> None:
        if not self.leads:
            return
        router = self.router
        served = dict.fromkeys((*router.fleet.models, *(r.model for r in router.fleet.replicas.values())))
        for model in served:
            step, self._remembered[model] = next_step(
                model,
                router.fleet.snapshot(),
                self._remembered.get(model, Remembered()),
                now=router.now(),
                rules=SCALING,
            )
            try:
                match step:
                    case Grow():
                        self._grow(step)
                    case Shrink(replica=replica):
                        self._shrink(replica)
            except Stale:
                router.world.ledger.note("claims lost to others")
                router.refresh()

    def _grow(self, step: Grow) -> None:
        router, now = self.router, self.router.now()
        if now < self._broken_until.get(step.model, float("-inf")):
            return
        snapshot = router.fleet.snapshot()
        request = replace(
            request_for(snapshot.models[step.model], snapshot, node_id=step.node_id, another=True),
            may_evict=step.may_evict,
        )
        decision = router.decide(request)
        if not isinstance(decision, Placed | Evict):
            self._broken_until[step.model] = now + _BREAK_SECONDS
            return
        victims = decision.victims if isinstance(decision, Evict) else ()
        wish = f"{step.model}/{next(router.world.numbers)}"
        router.loads.begin(
            request.model, decision.node, decision.replica_index, decision.shares, victims, wish
        )
        for victim in victims:
            router.stop(router.fleet.replicas[victim.id])
        router.world.ledger.note("replicas added by policy")

    def _shrink(self, replica: Replica) -> None:
        if self.router.fleet.replicas[replica.id].state is ReplicaState.UNLOADING:
            return
        self.router.unload([replica])
        self.router.world.ledger.note("replicas taken away by policy")

    def _drain(self) -> None:
        if not self.leads:
            return
        router, now = self.router, self.router.now()
        draining = {
            i: v for i, v in router.fleet.snapshot().by_id.items() if v.node.state is NodeState.DRAINING
        }
        self._drains = {i: self._drains.get(i, now + DRAIN_SECONDS) for i in draining}
        for node_id, view in draining.items():
            step = drain_step(view, now=now, deadline=self._drains[node_id])
            try:
                if step.unload:
                    router.unload(list(step.unload))
                if step.force:
                    self._force(list(step.force))
            except (Down, Stale):
                router.world.ledger.note("writes put off")
                return

    def _force(self, replicas: list[Replica]) -> None:
        self.router.unload(replicas, force=True)
