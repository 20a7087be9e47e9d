"""For which models somebody waits, at whatever router: these tell it to everybody over the bus.

A gateway lets nobody pass a queue that it can know of, and a router scales up what is waited for.
"""

import asyncio
import logging
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from weft_common.bus import Bus
from weft_common.clock import Clock
from weft_proto.pb.weft.bus.v1 import reports_pb2

_SUBJECT = "weft.waiting.*"
# A router that tells nothing for so long has nobody waiting, or is gone.
_FRESH_SECONDS = 3.0

_log = logging.getLogger(__name__)


class WaitingView:
    """State: `_told`, the latest word of each router that has somebody waiting, and when by the clock it came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, Mapping[str, int]]] = {}

    def models(self) -> frozenset[str]:
        """The models that somebody waits for."""
        return frozenset().union(*self.routers().values())

    def routers(self) -> Mapping[str, Mapping[str, int]]:
        """By router how many wait for which model, of those where somebody does."""
        oldest = self._clock.monotonic() - _FRESH_SECONDS
        return {router: counts for router, (time, counts) in self._told.items() if time >= oldest}

    def is_waited_for(self, model: str) -> bool:
        """Whether somebody waits for a model."""
        if not self._told:
            return False
        oldest = self._clock.monotonic() - _FRESH_SECONDS
        return any(time >= oldest and model in counts for time, counts in self._told.values())

    def take(self, report: reports_pb2.WaitingReport) -> None:
        """Take a router's word."""
        now = self._clock.monotonic()
        self._told = {i: told for i, told in self._told.items() if now - told[0] <= _FRESH_SECONDS}
        counts = {queue.model: queue.waiting_count for queue in report.queues if queue.waiting_count}
        if counts:
            self._told[report.router_id] = (now, counts)
        else:
            self._told.pop(report.router_id, None)

    async def read(self, payload: bytes) -> None:
        """Take a message; what cannot be read is passed over."""
        try:
            report = reports_pb2.WaitingReport.FromString(payload)
        except DecodeError:
            _log.warning("waiting_report_malformed", extra={"bytes": len(payload)})
            return
        self.take(report)

    async def follow(self, bus: Bus) -> None:
        """Listen for ever."""
        async with bus.subscribe(_SUBJECT, self.read):
            await asyncio.Event().wait()
