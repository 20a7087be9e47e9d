"""Unloading replicas: out of everybody's choice first, then stopped by their worker once they are idle."""

import asyncio
import logging
from dataclasses import replace

from weft_router.fleet.entities import Replica
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.lease import Fence
from weft_router.fleet.lifecycle import ReplicaEvent, move_replica
from weft_router.loading.commands import Commands
from weft_router.store.protocol import PlaceTaken, Store
from weft_router.sync import FleetSync

_log = logging.getLogger(__name__)


class Unloads:
    """Takes replicas out of service; what a worker does not hear now, its next heartbeat tells it."""

    def __init__(self, *, fleet: Fleet, store: Store, sync: FleetSync, commands: Commands) -> None:
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._commands = commands

    async def unload(
        self, replicas: list[Replica], *, force: bool, fence: Fence | None = None
    ) -> list[Replica]:
        """Mark replicas as unloading and have their workers stop them; returns them as marked.

        A command follows a row that says the same: late or twice, it stops nothing else. Raises StaleLeader.
        """
        asked = [
            replace(r, state=move_replica(r.state, ReplicaEvent.UNLOAD_ASKED, f"{r.id} of {r.model}"))
            for r in replicas
        ]
        marked = [r for r in asked if await self._write(r, fence)]
        await self._sync.after_write()
        nodes = self._fleet.nodes
        await asyncio.gather(*(self._commands.stop(nodes.get(r.node_id), r, force=force) for r in marked))
        return marked

    async def give_up(self, replica: Replica, *, fence: Fence | None = None) -> None:
        """Forget a replica that nobody can reach, and have its worker end what may be left of its process.

        Raises StaleLeader.
        """
        await self._store.remove_replicas([replica.id], fence=fence)
        await self._sync.after_write()
        await self._commands.stop(self._fleet.nodes.get(replica.node_id), replica, force=True)

    async def _write(self, replica: Replica, fence: Fence | None) -> bool:
        """Write what is asked of a replica, unless it is gone and another one has its place."""
        try:
            await self._store.put_replica(replica, fence=fence)
        except PlaceTaken:
            _log.info("replica_gone_already", extra={"replica": replica.id})
            return False
        return True
