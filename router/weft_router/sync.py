"""Keep the fleet in memory level with PostgreSQL, and everybody who watches level with it.

NATS only hints that something moved; a poll finds whatever a lost hint would have told.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta

from google.protobuf.message import DecodeError

from weft_common.bus import Bus
from weft_common.clock import Clock, SystemClock
from weft_common.errors import PartUnavailable, ReplicaClosing
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_proto.pb.weft.routing.v1 import routing_service_pb2
from weft_router import convert
from weft_router.fleet.entities import Changes
from weft_router.fleet.fleet import Fleet
from weft_router.pulse import Pulse
from weft_router.store.protocol import Store

CHANGED_SUBJECT = "weft.fleet.changed"
_POLL_SECONDS = 2.0
_WATCHER_QUEUE = 1024
# What was read so long ago may be old: twice as long as it takes to poll, and as a leader is believed to lead.
STALE_SECONDS = 4.0
# Half of the time for which the database remembers what is gone.
_FORGOTTEN_SECONDS = 1800.0

_log = logging.getLogger(__name__)

Update = routing_service_pb2.WatchFleetResponse


class FleetSync:
    """Owns the way from the database to memory to watchers.

    State: `_watchers`, `known`, `fleet_id`, `_read_at`, `_told` (the newest sequence that others hinted at since then)
    and `_cut_off`: others write what this router cannot read.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        fleet: Fleet,
        clock: Clock | None = None,
        *,
        keep_alive: timedelta | None = None,
    ) -> None:
        """`keep_alive` is told to watchers: how long a replica may be idle of which nobody says it."""
        self._store = store
        self._bus = bus
        self._fleet = fleet
        self._clock = clock or SystemClock()
        self._keep_alive = keep_alive
        self._reading = asyncio.Lock()
        self._watchers: set[asyncio.Queue[Update | None]] = set()
        self._hint = asyncio.Event()
        self._read_at = self._clock.monotonic()
        self._told = 0
        self._cut_off = False
        # Beats whenever the fleet in memory has changed.
        self.pulse = Pulse()
        # Of the database, as full updates tell it.
        self.fleet_id = ""
        # Set once the state of the database was read for the first time.
        self.known = asyncio.Event()

    def require_known(self) -> None:
        """Raise PartUnavailable until the state of the database was read: what is not known is not missing."""
        if not self.known.is_set():
            raise PartUnavailable(
                "This router has not read the fleet yet: PostgreSQL cannot be reached.",
                retry_after=timedelta(seconds=1),
                metadata={"part": "postgres"},
            )

    @property
    def level(self) -> bool:
        """Whether the fleet was read lately, and nobody told of anything newer: others need not be asked."""
        age = self._clock.monotonic() - self._read_at
        return self.known.is_set() and not self._cut_off and age < STALE_SECONDS

    def require_level(self) -> None:
        """Raise PartUnavailable where another router may know more of the fleet than this one."""
        self.require_known()
        if not self.level:
            raise PartUnavailable(
                "This router does not know what the fleet is now: PostgreSQL cannot be reached.",
                retry_after=timedelta(seconds=1),
                metadata={"part": "postgres"},
            )

    async def refresh(self) -> None:
        """Read what changed and pass it on; raises PartUnavailable while the database cannot be reached."""
        async with self._reading:
            changes = await self._read()
            for replica_id in changes.gone_replicas:
                self._fleet.freed(replica_id)
            self._fleet.apply(changes, self._clock.monotonic())
        self.known.set()
        self._told, self._cut_off = 0, False
        if changes:
            self.pulse.beat()
            self._publish(convert.update_pb(changes, full=False))

    async def _read(self) -> Changes:
        """What changed since the last read; after a long sleep everything, since what went meanwhile is forgotten."""
        now = self._clock.monotonic()
        if now - self._read_at < _FORGOTTEN_SECONDS:
            changes = await self._store.read_changes(self._fleet.sequence)
        else:
            changes = self._fleet.replaced_by(await self._store.read_changes(0))
        self._read_at = now
        return changes

    async def after_write(self) -> None:
        """Follow an own write at once and hint to the other routers."""
        await self.refresh()
        await self._bus.publish(
            CHANGED_SUBJECT, reports_pb2.FleetChanged(sequence=self._fleet.sequence).SerializeToString()
        )

    async def follow(self) -> None:
        """Refresh for ever: at every hint, and every two seconds for want of one."""
        async with self._bus.subscribe(CHANGED_SUBJECT, self._hear_hint):
            reachable = True
            while True:
                try:
                    await self.refresh()
                    reachable = True
                except PartUnavailable as error:
                    if reachable:
                        _log.warning("fleet_not_readable", extra={"error": str(error)})
                    reachable = False
                    self._leave_watchers_to_others()
                await self._wait_for_hint()

    def heard(self, node_id: str) -> None:
        """Tell watchers that a node was heard from just now."""
        self.heard_before({node_id: 0.0})

    def heard_before(self, ages: Mapping[str, float]) -> None:
        """Tell watchers how many seconds ago nodes were heard from."""
        update = Update(cut_off=not self.level)
        for node_id, seconds in ages.items():
            update.heard.add(node_id=node_id).age.FromMilliseconds(int(seconds * 1000))
        self._publish(update)
        self.pulse.beat()

    def _leave_watchers_to_others(self) -> None:
        """Whoever watches here learns nothing new where others still write: they tell more."""
        if self._told > self._fleet.sequence and not self._cut_off:
            _log.warning("watches_left_to_others", extra={"at": self._fleet.sequence, "newest": self._told})
            self._cut_off = True
            self.close()

    async def watch(self, now: float, *, stale_accepted: bool = False) -> AsyncIterator[Update]:
        """Everything, then each change; ends when the reader is too slow, or this router stops or is left behind."""
        if not self.level and not stale_accepted:
            raise ReplicaClosing("This router is cut off from the database; watch one that is not.")
        with self._watcher() as queue:
            yield self._full(now)
            while (update := await queue.get()) is not None:
                yield update
        raise ReplicaClosing("This router ends the watch; watch again, here or elsewhere.")

    def close(self) -> None:
        """End every watch."""
        for queue in list(self._watchers):
            self._drop(queue)

    def _full(self, now: float) -> Update:
        update = convert.update_pb(self._fleet.everything(), full=True)
        update.fleet_id, update.cut_off = self.fleet_id, not self.level
        if self._keep_alive is not None:
            update.keep_alive.FromTimedelta(self._keep_alive)
        for node_id, seconds in self._fleet.heard.items():
            update.heard.add(node_id=node_id).age.FromMilliseconds(int((now - seconds) * 1000))
        return update

    @contextmanager
    def _watcher(self) -> Iterator[asyncio.Queue[Update | None]]:
        queue: asyncio.Queue[Update | None] = asyncio.Queue(_WATCHER_QUEUE)
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)

    def _publish(self, update: Update) -> None:
        for queue in list(self._watchers):
            if queue.full():
                self._drop(queue)
            else:
                queue.put_nowait(update)

    def _drop(self, queue: asyncio.Queue[Update | None]) -> None:
        """A watcher that cannot keep up starts anew from a full update."""
        self._watchers.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)

    async def _hear_hint(self, payload: bytes) -> None:
        with suppress(DecodeError):  # then it is a hint all the same
            self._told = max(self._told, reports_pb2.FleetChanged.FromString(payload).sequence)
        self._hint.set()

    async def _wait_for_hint(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._hint.wait()
        except TimeoutError:
            pass
        self._hint.clear()
