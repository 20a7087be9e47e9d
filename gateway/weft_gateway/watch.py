"""Feeds the view: the watch on a router, and load reports from the bus."""

import asyncio
import logging
from collections.abc import Callable

from google.protobuf.message import DecodeError

from weft_common.bus import Bus
from weft_common.errors import WeftError
from weft_gateway.fleet_view import FleetView
from weft_gateway.routers import Routers
from weft_proto.pb.weft.bus.v1 import reports_pb2

_LOADS = "weft.load.*"
_RETRY_SECONDS = 0.1

_log = logging.getLogger(__name__)


async def follow_fleet(
    routers: Routers, view: FleetView, synced: asyncio.Event, on_level: Callable[[bool], None]
) -> None:
    """Watch the fleet for ever, at one router after the other; `on_level` hears whether the view is level with it."""
    turn, fruitless, complained = 0, 0, False
    while True:
        # Once each of them refused: better an old word of who lives than none.
        stale = fruitless >= routers.count
        fruitless += 1
        try:
            async for update in routers.watch(view.gateway_id, view.sequence, turn, stale_accepted=stale):
                view.apply(update)
                view.watched, view.stale = True, update.cut_off
                routers.hear(turn)
                synced.set()
                on_level(view.level)
                fruitless, complained = 0, False
        except WeftError as error:
            if not complained:
                _log.warning("watch_ended", extra={"error": str(error)})
            complained = True
        view.watched = False
        on_level(False)
        turn += 1
        await asyncio.sleep(_RETRY_SECONDS)


async def follow_loads(
    bus: Bus,
    view: FleetView,
    stir: Callable[[], None],
    hear: Callable[[reports_pb2.LoadReport], None] = lambda report: None,
) -> None:
    """Take load reports for ever; `hear` gets each, and `stir` learns that there was one."""

    async def take(payload: bytes) -> None:
        try:
            report = reports_pb2.LoadReport.FromString(payload)
        except DecodeError:
            _log.warning("load_report_malformed", extra={"bytes": len(payload)})
            return
        view.load(report)
        hear(report)
        stir()

    async with bus.subscribe(_LOADS, take):
        await asyncio.Event().wait()
