"""Nodes age: late ones are unhealthy, lost ones offline, and whoever is heard again is well again.

Every router looks, and tells its watchers what others heard; the one that leads writes. A router that could not hear
for a while, because it has just started or the database was away, calls nobody silent until it has listened for long.
"""

import asyncio
import logging

from weft_common.errors import PartUnavailable
from weft_common.events import Journal
from weft_proto.weft.types.v1 import EventKind
from weft_router.fleet.entities import Node, NodeState, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.lease import Fence
from weft_router.fleet.node_life import HealthLimits, aged
from weft_router.leases import Lease
from weft_router.nodes.ages import Ages
from weft_router.store.protocol import NodeChanged, StaleLeader, Store
from weft_router.sync import FleetSync

_log = logging.getLogger(__name__)


class Health:
    """Writes nothing but changes."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        store: Store,
        sync: FleetSync,
        ages: Ages,
        limits: HealthLimits,
        journal: Journal,
        lease: Lease,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._ages = ages
        self._limits = limits
        self._journal = journal
        self._lease = lease

    async def watch(self) -> None:
        """Look for ever, ten times before a node can be late."""
        pause = min(5.0, self._limits.late_seconds / 10)
        while True:
            await asyncio.sleep(pause)
            await self.turn()

    async def turn(self) -> None:
        """Bring every node's state level with its age, and forget what runs where nobody can be reached."""
        # Taken first: what this router decides on is never older than its term.
        fence = self._lease.fence
        try:
            await self._look(fence)
        except StaleLeader:
            self._lease.note_refused(fence, "to change nodes")
        except PartUnavailable as error:
            self._ages.lose_sight()
            _log.debug("ages_not_known", extra={"error": str(error)})

    async def _look(self, fence: Fence | None) -> None:
        await self._sync.refresh()
        # Read before the ages: a node that is heard from and written meanwhile is not judged by an old age.
        seen, nodes = self._fleet.sequence, tuple(self._fleet.nodes.values())
        await self._ages.read()
        if fence is None:
            return
        changed = [await self._age(node, seen, fence) for node in nodes]
        gone = [replica_id for node in nodes for replica_id in self._unreachable(node)] + self._homeless()
        if gone:
            _log.info("replicas_unreachable", extra={"replicas": gone})
            await self._store.remove_replicas(gone, fence=fence)
            self._tell_lost(gone)
        if gone or any(changed):
            await self._sync.after_write()

    async def _age(self, node: Node, seen: int, fence: Fence) -> bool:
        seconds = self._ages.age(node)
        if self._is_silent(seconds) and not self._may_judge(node):
            return False
        after = aged(node, seconds, self._limits)
        if after.state is node.state:
            return False
        try:
            await self._store.put_node(after, seen=seen, fence=fence)
        except NodeChanged:
            return False
        _log.info(
            "node_state",
            extra={"node": node.name, "state": after.state, "before": node.state, "age": _shown(seconds)},
        )
        self._tell_state(node, after, seconds)
        return True

    def _tell_state(self, before: Node, after: Node, seconds: float) -> None:
        silent = f"not heard for {seconds:.0f} s" if self._is_silent(seconds) else "heard again"
        self._journal.tell(
            EventKind.NODE,
            "node_state",
            silent if after.token_sha256 else "its worker has left",
            node=after.name,
            state=after.state.value,
            before=before.state.value,
            age_seconds=_shown(seconds) or "",
        )

    def _tell_lost(self, replica_ids: list[str]) -> None:
        for replica in (self._fleet.replicas[i] for i in replica_ids if i in self._fleet.replicas):
            node = self._fleet.nodes.get(replica.node_id)
            why = "its worker has left" if node and not node.token_sha256 else "nobody can reach its node"
            self._journal.tell(
                EventKind.REPLICA,
                "replica_lost",
                why if node else "its node was removed",
                model=replica.model,
                node=node.name if node else "",
                replica_id=replica.id,
                state=replica.state.value,
            )

    def _is_silent(self, seconds: float) -> bool:
        return seconds >= self._limits.late_seconds

    def _may_judge(self, node: Node) -> bool:
        return not node.token_sha256 or self._ages.sure(self._limits.lost_seconds)

    def _homeless(self) -> list[str]:
        """Replicas of removed nodes, written by whoever did not know yet."""
        return [r.id for r in self._fleet.replicas.values() if r.node_id not in self._fleet.nodes]

    def _unreachable(self, node: Node) -> list[str]:
        """Replicas of a lost node: its first heartbeat brings back what still runs.

        What was asked to unload stays written, so that it is not taken for ready then; and a load under way is its
        router's to give up. After a goodbye nothing is left.
        """
        lost = self._ages.age(node) >= self._limits.lost_seconds and self._may_judge(node)
        if node.state is NodeState.PENDING or not lost:
            return []
        left = not node.token_sha256
        loading = self._fleet.loading_on(node.id)
        return [
            r.id
            for r in self._fleet.replicas_on(node.id)
            if r.id not in loading and (left or r.state is not ReplicaState.UNLOADING)
        ]


def _shown(seconds: float) -> float | None:
    return None if seconds == float("inf") else round(seconds, 1)
