"""The loads that one simulated router has in hand: durable rows, taken over where their owner is gone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.sim.network import LATEST_SECONDS
from tests.sim.process import ADDRESS
from tests.sim.store import Failure, Job
from weft_router.fleet.entities import Model, Node, NodeState, Replica, ReplicaState, Share
from weft_router.fleet.lease import Fence
from weft_router.fleet.lifecycle import ReplicaEvent, move_replica
from weft_router.fleet.views import may_begin

if TYPE_CHECKING:
    from tests.sim.router import Router

_LOOK_SECONDS = 0.25
_BEAT_SECONDS = 1.0
_ORPHANED_SECONDS = 10.0
_MINE_SECONDS = 8.0
# A worker that has not said how a load is going is asked again after this, and given up after that.
_ASK_SECONDS = LATEST_SECONDS
_PATIENCE_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class Load:
    """One load in hand; times are of the router's clock."""

    job: Job
    model: Model
    since: float
    beaten: float
    asked: float = float("-inf")


@dataclass(slots=True, eq=False)
class Loads:
    """State: `_in_hand`, by replica id."""

    router: Router
    _in_hand: dict[str, Load] = field(default_factory=dict)

    def start(self) -> None:
        """Look after what is in hand, and for what nobody has in hand."""
        self.router.every(_LOOK_SECONDS, self._look)
        self.router.every(_BEAT_SECONDS, self._beat)
        self.router.every(_ORPHANED_SECONDS / 4, self._adopt)

    def owners(self) -> list[tuple[str, str]]:
        """Which loads this router believes to own, and would act on."""
        now = self.router.now()
        return [
            (i, self.router.identity) for i, o in self._in_hand.items() if now - o.beaten <= _MINE_SECONDS
        ]

    def begin(
        self,
        model: Model,
        node: Node,
        index: int,
        shares: tuple[Share, ...],
        victims: tuple[Replica, ...],
        wish: str,
        fence: Fence | None = None,
    ) -> None:
        """Claim a place; the process starts once what it was promised is free."""
        router = self.router
        row = Replica(
            id=f"r-{next(router.world.numbers)}",
            model=model.name,
            index=index,
            revision=model.revision,
            node_id=node.id,
            address=ADDRESS,
            state=ReplicaState.LOADING,
            slot_count=model.slot_count,
            max_queue_count=model.max_queue_count,
            shares=shares,
            begun=False,
        )
        router.claim(row, victims, wish, fence)
        self._in_hand[row.id] = Load(router.world.store.jobs[row.id], model, router.now(), router.now())
        self._look_at(row.id)

    def ended(self, replica_id: str, outcome: str) -> None:
        """The process says that it is ready, or why it failed; news of a load that is not in hand is for others."""
        load, row = self._in_hand.get(replica_id), self.router.fleet.replicas.get(replica_id)
        if load is None or row is None or outcome == "loading":
            return
        if self.router.now() - load.beaten > _MINE_SECONDS:
            return
        if outcome == "ready":
            self._ready(load, row)
        else:
            self._fail(load, row, outcome)

    def _ready(self, load: Load, row: Replica) -> None:
        """Its memory is known now; a row that somebody called unloading meanwhile stays so."""
        router = self.router
        router.refresh()
        row = router.fleet.replicas.get(row.id, row)
        process = router.world.machine(row.node_id).processes.get(row.id)
        if process is None:
            return
        state = move_replica(row.state, ReplicaEvent.LOADED, router.fleet.story_of(row.id))
        seconds = router.now() - load.since
        ready = replace(row, state=state, memory_bytes=process.size_bytes, load_seconds=seconds)
        router.world.store.put_replicas([ready], router.fleet.sequence)
        self._drop(row.id)
        router.wrote()
        router.world.ledger.note("loads done")

    def _fail(self, load: Load, row: Replica, cause: str) -> None:
        """Free everything, as soon as the worker has confirmed it, and leave the cause for those who wait."""
        router = self.router
        router.refresh()
        if row.id in router.fleet.replicas:
            row = router.fleet.replicas[row.id]
            if not row.begun:
                router.world.store.remove(row.id)
                router.wrote()
            else:
                router.unload([row], force=True)
        if not router.waiting.may_try_elsewhere(row.model, row.node_id, cause):
            router.world.store.failures[row.model] = Failure(router.world.agenda.now, cause)
        router.world.ledger.note(f"load failed: {cause}")
        self._drop(row.id)

    def _drop(self, replica_id: str) -> None:
        self._in_hand.pop(replica_id, None)
        self.router.world.store.jobs.pop(replica_id, None)

    def _look(self) -> None:
        for replica_id, _ in self.owners():
            self._look_at(replica_id)

    def _look_at(self, replica_id: str) -> None:
        router, load = self.router, self._in_hand[replica_id]
        row = router.fleet.replicas.get(replica_id)
        if row is None or row.state is not ReplicaState.LOADING or row.id not in router.world.store.jobs:
            self._drop(replica_id)
            return
        known = router.fleet.models.get(row.model)
        view = router.fleet.snapshot().by_id[row.node_id]
        if known is None or known.revision != row.revision:
            self._fail(load, row, "its model changed")
        elif view.node.state in (NodeState.UNHEALTHY, NodeState.OFFLINE):
            self._fail(load, row, "its node is gone")
        elif router.now() - load.since > _PATIENCE_SECONDS:
            self._fail(load, row, "it took too long")
        elif row.begun:
            self._install(load, row)
        elif may_begin(view, row.id):
            begun = replace(row, begun=True)
            router.world.store.put_replicas([begun], router.fleet.sequence)
            router.wrote()
            self._install(load, begun)

    def _install(self, load: Load, row: Replica) -> None:
        """Idempotent by the replica's id, so that asking how it is going is the same command."""
        router, now = self.router, self.router.now()
        if now - load.asked < _ASK_SECONDS:
            return
        load.asked = now
        machine, generation = router.world.machine(row.node_id), router.fleet.nodes[row.node_id].generation
        told = router.soon(self.ended, row.id)

        def send() -> None:
            machine.install(
                generation, row, load.model, lambda answer: router.world.network.send(told, answer)
            )

        router.world.network.send(send)

    def _beat(self) -> None:
        """Say that the loads are in hand; whoever cannot say so for long must take them for somebody else's."""
        router, now = self.router, self.router.now()
        for replica_id, load in list(self._in_hand.items()):
            if now - load.beaten > _MINE_SECONDS:
                del self._in_hand[replica_id]
        for replica_id, load in list(self._in_hand.items()):
            if router.world.store.beat(replica_id, router.identity, router.world.agenda.now):
                load.beaten = now
            else:
                del self._in_hand[replica_id]

    def _adopt(self) -> None:
        router = self.router
        taken = router.world.store.take_over(router.identity, router.world.agenda.now, _ORPHANED_SECONDS)
        if taken:
            router.refresh()
        for job in taken:
            router.world.ledger.note("loads taken over")
            if job.model in router.fleet.models:
                self._in_hand[job.replica_id] = Load(
                    job, router.fleet.models[job.model], router.now(), router.now()
                )
