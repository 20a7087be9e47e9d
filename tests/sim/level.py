"""What a heartbeat or the end of a process means for rows: the level that heals whatever commands missed.

Absence of knowledge stops nothing: a worker is told to stop only what a row calls unloading, what is loading without
any row, or what had a row that went.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sim.machine import Machine
from weft_router.fleet.entities import Device, Replica, ReplicaState
from weft_router.fleet.reconcile import reconcile

if TYPE_CHECKING:
    from tests.sim.router import Router

# A heartbeat may be this old when it arrives: what it cannot know yet is not missing.
_YOUNG_SECONDS = 15.0


@dataclass(slots=True, eq=False)
class Levels:
    """State: since when each row has been as it is."""

    router: Router
    _since: dict[str, tuple[ReplicaState, float]] = field(default_factory=dict)

    def settle(self, node_id: str, told: list[Replica]) -> None:
        """A worker registers: what it does not run any more is gone; its loads are for their owners to see to."""
        self._note(node_id)
        running = {r.id for r in told}
        for row in self.router.fleet.replicas_on(node_id):
            if row.id not in running and row.state is not ReplicaState.LOADING and not self._is_young(row):
                self._remove(row.id)

    def heartbeat(self, machine: Machine, devices: tuple[Device, ...], told: list[Replica]) -> None:
        """Take what a worker measured and runs, and answer with what it must stop."""
        router = self.router
        router.refresh()
        node = router.fleet.nodes.get(machine.node_id)
        if node is None:
            return
        router.fleet.hear(node.id, router.now())
        router.fleet.measure(node.id, devices, told)
        self._note(node.id)
        rows, store = router.fleet.replicas_on(node.id), router.world.store
        loading = frozenset(r.id for r in rows if r.state is ReplicaState.LOADING)
        plan = reconcile(
            rows, told, loading=loading, young=frozenset(r.id for r in rows if self._is_young(r))
        )
        for replica_id in plan.gone:
            self._remove(replica_id)
        for replica_id in plan.stop:
            router.stop(router.fleet.replicas[replica_id])
        for replica in plan.write:
            if replica.id not in store.removed:
                self._adopt(replica)
        for replica in told:
            if replica.id in store.removed or (
                replica.state is ReplicaState.LOADING and replica.id not in store.replicas
            ):
                router.stop(replica)

    def gone(self, replica_id: str) -> None:
        """A worker says that a process has ended."""
        row = self.router.fleet.replicas.get(replica_id)
        if row is None:
            return
        self.router.fleet.freed(replica_id)
        if row.state is ReplicaState.LOADING:
            self.router.loads.ended(replica_id, "its process ended")
        else:
            self._remove(replica_id)

    def _is_young(self, row: Replica) -> bool:
        return self.router.now() - self._since[row.id][1] <= _YOUNG_SECONDS

    def _remove(self, replica_id: str) -> None:
        self.router.world.store.remove(replica_id)
        self.router.wrote()

    def _adopt(self, replica: Replica) -> None:
        """It runs and has never had a row: the database was made anew, say."""
        known = replica.id in self.router.world.store.replicas
        self.router.world.store.put_replicas([replica], self.router.fleet.sequence)
        self.router.world.ledger.note("replicas told anew" if known else "replicas adopted")
        self.router.wrote()

    def _note(self, node_id: str) -> None:
        now, rows = self.router.now(), self.router.fleet.replicas
        for row in self.router.fleet.replicas_on(node_id):
            if self._since.get(row.id, (None, 0.0))[0] is not row.state:
                self._since[row.id] = (row.state, now)
        if len(self._since) > 2 * len(rows) + 100:
            self._since = {i: s for i, s in self._since.items() if i in rows}
