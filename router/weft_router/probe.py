"""Is a replica that somebody could not reach really dead? One health check tells.

Refused or reset means dead; a timeout means busy, and busy is alive.
"""

import asyncio
import logging

import grpc
from grpc_health.v1 import health_pb2

from weft_common.rpc import open_channel
from weft_router.fleet.fleet import Fleet
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync

_PROBE_SECONDS = 2.0
_CHECK = "/grpc.health.v1.Health/Check"

_log = logging.getLogger(__name__)


class Probe:
    """Checks suspects and forgets the dead; concurrent checks of one replica are one."""

    def __init__(self, *, fleet: Fleet, store: Store, sync: FleetSync) -> None:
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._checking: dict[str, asyncio.Lock] = {}

    async def forget_dead(self, replica_ids: list[str]) -> None:
        """Drop those replicas that no longer listen."""
        for replica_id in replica_ids:
            async with self._checking.setdefault(replica_id, asyncio.Lock()):
                replica = self._fleet.replicas.get(replica_id)
                if replica is not None and await self._is_dead(replica.address):
                    _log.info("replica_dead", extra={"replica": replica_id, "model": replica.model})
                    await self._store.remove_replicas([replica_id])
                    await self._sync.after_write()
            self._checking.pop(replica_id, None)

    async def _is_dead(self, address: str) -> bool:
        try:
            async with open_channel(address) as channel:
                check = channel.unary_unary(
                    _CHECK,
                    request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                    response_deserializer=health_pb2.HealthCheckResponse.FromString,
                )
                await check(health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
        return False
