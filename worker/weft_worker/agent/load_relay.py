"""Sends the load board's reports over the bus."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from weft_common.bus import Bus
from weft_common.clock import Clock
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_worker.agent.load_board import COALESCE_SECONDS, LoadBoard
from weft_worker.backend.lease import Load

_RECONNECT_SECONDS = 1.0

_log = logging.getLogger(__name__)


class LoadRelay:
    """What backends say, on its way to the gateways. State: the board, and `_news` of it."""

    def __init__(
        self,
        agent_id: str,
        clock: Clock,
        full_devices: Callable[[], Sequence[reports_pb2.FullDevice]] = lambda: (),
    ) -> None:
        self._board = LoadBoard(agent_id)
        self._clock = clock
        self._full_devices = full_devices
        self._news = asyncio.Event()

    def tell(self, replica_id: str, load: Load) -> None:
        """Take a backend's word."""
        self._board.tell(replica_id, load)
        self._news.set()

    def forget(self, replica_id: str) -> None:
        """Note that a replica's process ended."""
        self._board.forget(replica_id)
        self._news.set()

    async def publish(self, bus: Bus, node_id: str) -> None:
        """Report for ever; cancelled with its session on the bus."""
        subject = f"weft.load.{node_id}"
        while True:
            if (wait := self._board.wait_seconds(self._clock.monotonic())) > 0:
                await self._pause(wait)
            elif await bus.wait_connected(_RECONNECT_SECONDS):
                report = self._board.compose(node_id, self._clock.monotonic(), full=self._full_devices())
                if not await bus.publish(subject, report.SerializeToString()):
                    self._board.undelivered(report)

    async def _pause(self, seconds: float) -> None:
        """Wait for so long; where that is for want of news, only until there is some."""
        if seconds <= COALESCE_SECONDS:
            await asyncio.sleep(seconds)
            return
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
