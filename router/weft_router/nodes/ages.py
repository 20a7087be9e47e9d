"""How long ago each node was heard from, by whichever router.

A heartbeat reaches one router; the others read of it in the database, by its clock. Whichever is younger counts.
"""

import asyncio
import logging

from weft_common.clock import Clock
from weft_common.errors import PartUnavailable
from weft_router.fleet.entities import Node
from weft_router.fleet.fleet import Fleet
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync

# What the database tells is passed on where it is younger by this than what is known.
_NEWS_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Ages:
    """State: `_untold`, nodes that the database has yet to hear of; `_read`, when nodes were heard by its word; and
    `_blind`, when this router last knew too little to call anybody silent. Moments are of the monotonic clock.
    """

    def __init__(self, *, fleet: Fleet, store: Store, sync: FleetSync, clock: Clock) -> None:
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._clock = clock
        self._start = self._blind = clock.monotonic()
        self._untold: set[str] = set()
        self._read: dict[str, float] = {}

    def hear(self, node_id: str) -> None:
        """Note that a node was heard from just now."""
        self._fleet.hear(node_id, self._clock.monotonic())
        self._untold.add(node_id)

    def heard(self, node: Node) -> float | None:
        """When a node was heard from, if ever."""
        moments = (self._fleet.heard.get(node.id), self._read.get(node.id))
        return max((m for m in moments if m is not None), default=None)

    def age(self, node: Node) -> float:
        """Seconds since a node was heard from: endless for one that said goodbye, whatever arrives late.

        Of a node that nobody has told of, the age of this router.
        """
        if not node.token_sha256:
            return float("inf")
        heard = self.heard(node)
        return self._clock.monotonic() - (self._start if heard is None else heard)

    def sure(self, seconds: float) -> bool:
        """Whether this router has been able to hear and read for so long without a break."""
        return self._clock.monotonic() - self._blind >= seconds

    def lose_sight(self) -> None:
        """Note that the database cannot be reached: nothing is sure for a while."""
        self._blind = self._clock.monotonic()

    async def read(self) -> None:
        """Read what other routers heard; raises PartUnavailable."""
        ages = await self._store.node_ages()
        now = self._clock.monotonic()
        self._read = {node_id: now - age for node_id, age in ages.items()}
        self._pass_on(now)

    def _pass_on(self, now: float) -> None:
        """Tell this router's watchers what others heard: while the bus is down, nothing else does."""
        known = self._fleet.heard
        news = {
            node_id: moment
            for node_id, moment in self._read.items()
            if node_id in self._fleet.nodes and moment > known.get(node_id, float("-inf")) + _NEWS_SECONDS
        }
        for node_id, moment in news.items():
            self._fleet.hear(node_id, moment)
        if news:
            self._sync.heard_before({node_id: now - moment for node_id, moment in news.items()})

    async def tell(self) -> None:
        """Tell the database who was heard from; what it cannot take now is told by the next heartbeat."""
        untold, self._untold = self._untold, set()
        if untold:
            await self._store.hear_nodes(untold)

    async def keep_telling(self, every_seconds: float) -> None:
        """Tell for ever."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await self.tell()
            except PartUnavailable as error:
                self.lose_sight()
                _log.debug("heartbeats_not_written", extra={"error": str(error)})
