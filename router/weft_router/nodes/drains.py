"""Draining nodes: what is in flight finishes, then their replicas go, and at the deadline the rest goes by force."""

import asyncio
import logging

from weft_common.clock import Clock
from weft_common.errors import PartUnavailable
from weft_router.fleet.drain import drain_step
from weft_router.fleet.entities import NodeState, Replica
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.lease import Fence
from weft_router.fleet.views import NodeView
from weft_router.leases import Lease
from weft_router.store.protocol import StaleLeader, Store
from weft_router.sync import FleetSync
from weft_router.unloads import Unloads

_LOOK_SECONDS = 0.5
# Requests that were sent there before every gateway knew are counted by then.
_SETTLE_SECONDS = 2.0
_FORCE_AGAIN_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Drains:
    """State: `_since`, when this router learned of each drain, and `_forced`, when a replica's end was last forced."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        store: Store,
        sync: FleetSync,
        unloads: Unloads,
        clock: Clock,
        lease: Lease,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._unloads = unloads
        self._clock = clock
        self._lease = lease
        self._since: dict[str, float] = {}
        self._forced: dict[str, float] = {}

    async def watch(self) -> None:
        """Look for ever."""
        await self._sync.known.wait()
        while True:
            try:
                await self.look()
            except PartUnavailable as error:
                _log.debug("drain_waits", extra={"error": str(error)})
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Take the next step of every drain, if this router leads."""
        fence = self._lease.fence
        draining = [v for v in self._fleet.snapshot().views if v.node.state is NodeState.DRAINING]
        now = self._clock.monotonic()
        self._since = {v.node.id: self._since.get(v.node.id, now) for v in draining}
        self._forced = {i: t for i, t in self._forced.items() if i in self._fleet.replicas}
        busy = [v for v in draining if v.replicas] if fence else []
        # Deadlines are by the database's clock, and a drain that is done needs none.
        wall = await self._store.wall_seconds() if busy else 0.0
        try:
            for view in busy:
                await self._step(view, now, wall, fence)
        except StaleLeader:
            self._lease.note_refused(fence, "to drain nodes")

    async def _step(self, view: NodeView, now: float, wall: float, fence: Fence | None) -> None:
        deadline = view.node.drain_deadline
        step = drain_step(view, now=wall, deadline=float("inf") if deadline is None else deadline)
        if step.unload and now - self._since[view.node.id] >= _SETTLE_SECONDS:
            await self._unload(view, list(step.unload), force=False, fence=fence)
        overdue = [
            r for r in step.force if now - self._forced.get(r.id, float("-inf")) >= _FORCE_AGAIN_SECONDS
        ]
        if overdue:
            self._forced.update((r.id, now) for r in overdue)
            await self._unload(view, overdue, force=True, fence=fence)

    async def _unload(
        self, view: NodeView, replicas: list[Replica], *, force: bool, fence: Fence | None
    ) -> None:
        _log.info(
            "node_drains",
            extra={"node": view.node.name, "replicas": [r.id for r in replicas], "force": force},
        )
        await self._unloads.unload(replicas, force=force, fence=fence)
