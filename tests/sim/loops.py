"""What the leading one of the simulated routers does at leisure: health, scaling, drains."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.sim.store import Down, Refused, Stale
from weft_router.fleet.checkups import CheckupRules, Checkups, Verdict
from weft_router.fleet.drain import drain_step
from weft_router.fleet.entities import Node, NodeState, Replica, ReplicaState
from weft_router.fleet.lease import Fence
from weft_router.fleet.node_life import HealthLimits, aged
from weft_router.fleet.scaling import Grow, Remembered, ScalingRules, Shrink, Step, next_step
from weft_router.placement.decision import Evict, Placed
from weft_router.placement.request import request_for

if TYPE_CHECKING:
    from tests.sim.router import Router

LIMITS = HealthLimits()
SCALING = ScalingRules(idle_seconds=60.0)
DRAIN_SECONDS = 30.0
_LEASE_SECONDS = 4.0
_BREAK_SECONDS = 30.0
# Between a decision and its write: time enough to fall asleep in.
_ACT_SECONDS = 0.02


@dataclass(slots=True, eq=False)
class Loops:
    """State: everything; it is worth something only while this router leads.

    `_until` is of the router's clock, and `drowsy` for how long it sleeps once it has decided something.
    """

    router: Router
    _fence: Fence | None = None
    _until: float = float("-inf")
    drowsy: float = 0.0
    _remembered: dict[str, Remembered] = field(default_factory=dict)
    # Until when a model is not tried again that could not get what its policy asks for.
    _broken_until: dict[str, float] = field(default_factory=dict)
    _drains: dict[str, float] = field(default_factory=dict)
    _checkups: Checkups = field(default_factory=lambda: Checkups(CheckupRules()))

    def start(self) -> None:
        """Try to lead, and do what leaders do."""
        self.router.every(1.0, self._lead)
        self.router.every(5.0, self._health)
        self.router.every(1.0, self._check)
        self.router.every(1.0, self._scale)
        self.router.every(1.0, self._drain)

    @property
    def fence(self) -> Fence | None:
        """What effects carry that begin now; None while this router does not lead for sure."""
        return self._fence if self.router.now() < self._until else None

    def _lead(self) -> None:
        router, until = self.router, self.router.now() + _LEASE_SECONDS
        if not router.knows:
            return
        fence = router.world.store.lead(router.identity, router.world.agenda.now, _LEASE_SECONDS)
        if fence is not None and fence != self._fence:
            router.world.ledger.note("leaders elected")
            self._remembered.clear()
            self._checkups.forget()
            router.refresh()
        self._fence, self._until = fence, until

    def _health(self) -> None:
        """By the age of what was heard last; whom it never heard, it gives as long as everybody."""
        fence = self.fence
        if fence is None:
            return
        router, now = self.router, self.router.now()
        for node in list(router.fleet.nodes.values()):
            age = now - router.fleet.heard.get(node.id, router.started)
            after = aged(node, age, LIMITS)
            if after.state is not node.state:
                router.world.ledger.note(f"node {node.state} -> {after.state}")
                self._write_node(after, fence)

    def _write_node(self, node: Node, fence: Fence) -> None:
        try:
            self.router.world.store.put_node(node, self.router.fleet.sequence, fence)
        except Refused:
            self.router.world.ledger.note("effects of former leaders refused")
        except Stale:
            self.router.world.ledger.note("writes put off")
        self.router.wrote()

    def _check(self) -> None:
        """Ask replicas whether they serve; what is gone or hung is taken away."""
        fence = self.fence
        if fence is None:
            return
        router = self.router
        for replica in self._checkups.due(router.fleet, router.now()):
            finding = router.world.machine(replica.node_id).probe(replica.id)
            verdict = self._checkups.found(replica, finding, router.fleet, router.now())
            row = router.fleet.replicas.get(replica.id)
            if (
                verdict in (Verdict.LOST, Verdict.HUNG)
                and row is not None
                and row.state is ReplicaState.READY
            ):
                router.world.ledger.note(f"replicas {verdict.name.lower()}")
                self._take_away(row, verdict, fence)

    def _take_away(self, row: Replica, verdict: Verdict, fence: Fence) -> None:
        try:
            if verdict is Verdict.HUNG:
                self.router.unload([row], force=True, fence=fence)
            else:
                self.router.world.store.remove(row.id)
                self.router.wrote()
                self.router.stop(row, force=True)
        except Refused:
            self.router.world.ledger.note("effects of former leaders refused")
        except (Down, Stale):
            self.router.world.ledger.note("writes put off")

    def _scale(self) -> None:
        fence = self.fence
        if fence is None:
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
            if step is not None:
                self._decided(step, fence)

    def _decided(self, step: Step, fence: Fence) -> None:
        router = self.router
        router.world.ledger.note("steps decided")
        router.world.note_step(step)
        router.world.agenda.after(_ACT_SECONDS, router.soon(self._act, step, fence))
        if self.drowsy:
            router.world.ledger.note("fault: leader stopped on a decision")
            router.sleep(self.drowsy)
            self.drowsy = 0.0

    def _act(self, step: Step, fence: Fence) -> None:
        """Do what was decided a moment ago, or long ago, for all that a router knows that slept."""
        try:
            match step:
                case Grow():
                    self._grow(step, fence)
                case Shrink():
                    self._shrink(step, fence)
        except Refused:
            self.router.world.ledger.note("effects of former leaders refused")
        except Stale:
            self.router.world.ledger.note("claims lost to others")
            self.router.refresh()

    def _grow(self, step: Grow, fence: Fence) -> None:
        router, now = self.router, self.router.now()
        snapshot = router.fleet.snapshot()
        if now < self._broken_until.get(step.model, float("-inf")) or step.model not in snapshot.models:
            return
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
            request.model, decision.node, decision.replica_index, decision.shares, victims, wish, fence
        )
        for victim in victims:
            router.stop(router.fleet.replicas[victim.id])
        router.world.ledger.note("replicas added by policy")

    def _shrink(self, step: Shrink, fence: Fence) -> None:
        row = self.router.fleet.replicas.get(step.replica.id)
        if row is None or row.state is ReplicaState.UNLOADING:
            return
        self.router.unload([row], fence=fence)
        self.router.world.ledger.note("replicas taken away by policy")

    def _drain(self) -> None:
        fence = self.fence
        if fence is None:
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
                    router.unload(list(step.unload), fence=fence)
                if step.force:
                    router.unload(list(step.force), force=True, fence=fence)
            except (Down, Stale):
                router.world.ledger.note("writes put off")
                return
