"""Who was heard from, and how busy it is, by the reports that workers send to gateways.

With several routers each heartbeat reaches one of them; the reports on the bus reach all, once a second.
"""

import asyncio
import logging
from collections.abc import Callable

from google.protobuf.message import DecodeError

from weft_common.bus import Bus
from weft_common.clock import Clock
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_router.convert_warmth import keep_alive
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.memory import FullDevice
from weft_router.fleet.unstored import Use

_LOADS = "weft.load.*"

_log = logging.getLogger(__name__)


async def follow_loads(
    bus: Bus,
    fleet: Fleet,
    clock: Clock,
    stir: Callable[[], None],
    hear: Callable[[reports_pb2.LoadReport], None] = lambda report: None,
) -> None:
    """Hear nodes and their replicas by their load reports, for ever.

    `stir` wakes who waits for an idle replica, and `hear` gets each report once the fleet has it.
    """

    async def take(payload: bytes) -> None:
        try:
            report = reports_pb2.LoadReport.FromString(payload)
        except DecodeError:
            _log.warning("load_report_malformed", extra={"bytes": len(payload)})
            return
        if report.node_id in fleet.nodes:
            now = clock.monotonic()
            fleet.hear(report.node_id, now)
            busy = {r.replica_id: r.in_flight_count + r.queued_count for r in report.replicas}
            fleet.report(report.node_id, busy, now, stalled=_stalled(report))
            uses = {r.replica_id: _use(r) for r in report.replicas}
            full = tuple(FullDevice(d.device_id, d.use, d.excess_bytes) for d in report.full_devices)
            fleet.note_uses(report.node_id, uses, now, full=full)
            hear(report)
            if not all(busy.values()):
                stir()

    async with bus.subscribe(_LOADS, take):
        await asyncio.Event().wait()


def _stalled(report: reports_pb2.LoadReport) -> dict[str, float]:
    return {r.replica_id: r.stalled.ToMilliseconds() / 1000 for r in report.replicas if r.HasField("stalled")}


def _use(message: reports_pb2.ReplicaLoad) -> Use:
    said = message.keep_alive.ToTimedelta() if message.HasField("keep_alive") else None
    return Use(message.started_count, keep_alive(said))
