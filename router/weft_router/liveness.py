"""Who was heard from, also by the reports that workers send to gateways.

With several routers each heartbeat reaches one of them; the reports on the bus reach all, once a second.
"""

import asyncio
import logging

from google.protobuf.message import DecodeError

from weft_common.bus import Bus
from weft_common.clock import Clock
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_router.fleet.fleet import Fleet

_LOADS = "weft.load.*"

_log = logging.getLogger(__name__)


async def follow_loads(bus: Bus, fleet: Fleet, clock: Clock) -> None:
    """Hear nodes by their load reports, for ever."""

    async def take(payload: bytes) -> None:
        try:
            node_id = reports_pb2.LoadReport.FromString(payload).node_id
        except DecodeError:
            _log.warning("load_report_malformed", extra={"bytes": len(payload)})
            return
        if node_id in fleet.nodes:
            fleet.hear(node_id, clock.monotonic())

    async with bus.subscribe(_LOADS, take):
        await asyncio.Event().wait()
