"""Tells whether this router is to be asked and watched: while the fleet that it knows is the one in the database."""

import asyncio
import logging
from typing import Protocol

from weft_common.clock import Clock
from weft_router.sync import FleetSync

_LOOK_SECONDS = 0.25
# Those who watch a router that is cut off, for want of a better one, look for one that often.
_STALE_WATCH_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Serves(Protocol):
    """What this needs of a server."""

    async def start(self) -> None:
        """Take calls."""
        ...

    def set_serving(self, serving: bool) -> None:
        """Tell health whether this part is ready."""
        ...


class Announcement:
    """State: `_serving`, what is said, and `_parted`, when watches were ended last."""

    def __init__(self, server: Serves, sync: FleetSync, clock: Clock) -> None:
        self._server = server
        self._sync = sync
        self._clock = clock
        self._serving = False
        self._parted = float("-inf")

    def look(self) -> None:
        """Say what is so now; whoever watches a router that is cut off is sent to look for another one."""
        level, now = self._sync.level, self._clock.monotonic()
        if level != self._serving:
            self._serving = level
            self._server.set_serving(level)
            if level:
                _log.info("router_ready")
            else:
                _log.warning("router_cut_off")
        if not level and now - self._parted >= _STALE_WATCH_SECONDS:
            self._parted = now
            self._sync.close()
        elif level:
            self._parted = float("-inf")


async def announce(server: Serves, sync: FleetSync, clock: Clock) -> None:
    """Serve at once; say SERVING once the fleet is known, and whenever it is level with the database."""
    await server.start()
    await sync.known.wait()
    announcement = Announcement(server, sync, clock)
    while True:
        announcement.look()
        await asyncio.sleep(_LOOK_SECONDS)
