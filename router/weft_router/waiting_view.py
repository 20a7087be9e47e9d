"""Which models requests wait for, at whatever router: those tell it to everybody over the bus."""

import asyncio
import logging

from google.protobuf.message import DecodeError

from weft_common.bus import Bus
from weft_common.clock import Clock
from weft_proto.pb.weft.bus.v1 import reports_pb2

_SUBJECT = "weft.waiting.*"
_SILENT_SECONDS = 3.0

_log = logging.getLogger(__name__)


class WaitingView:
    """State: what each router said last, and when by the clock; a silent one has nobody waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, frozenset[str]]] = {}

    def models(self) -> frozenset[str]:
        """The models that somebody waits for."""
        now = self._clock.monotonic()
        self._told = {i: told for i, told in self._told.items() if now - told[0] <= _SILENT_SECONDS}
        return frozenset().union(*(models for _, models in self._told.values()))

    async def take(self, payload: bytes) -> None:
        """Take a router's word; what cannot be read is passed over."""
        try:
            report = reports_pb2.WaitingReport.FromString(payload)
        except DecodeError:
            _log.warning("waiting_report_malformed", extra={"bytes": len(payload)})
            return
        waited_for = frozenset(q.model for q in report.queues if q.waiting_count)
        self._told[report.router_id] = (self._clock.monotonic(), waited_for)

    async def follow(self, bus: Bus) -> None:
        """Listen for ever."""
        async with bus.subscribe(_SUBJECT, self.take):
            await asyncio.Event().wait()
