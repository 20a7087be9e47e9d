"""Events as JetStream keeps them: the latest ones, and those that follow.

A reader holds nothing at the server and nothing in memory: it asks for what comes after the last sequence that it has
handed on, when whoever reads is ready for more. So a slow reader costs nobody anything, and a lost connection no event.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from google.protobuf.message import DecodeError

from weft_common.bus import Bus
from weft_common.errors import PartUnavailable, ReplicaClosing
from weft_common.event_stream import SETTINGS, SUBJECTS
from weft_common.jetstream import Kept, Stream
from weft_proto.pb.weft.types.v1.event_pb2 import Event
from weft_router.events.wanted import Wanted
from weft_router.pulse import Pulse

_BATCH = 500
# As long as a batch keeps the loop, which has other things to do: requests that wait for slots among them.
_BREATH_SECONDS = 0.01
# For a hint that was lost; the usual delay is that of the bus.
_LOOK_SECONDS = 5.0
_RETRY_SECONDS = 0.5

_log = logging.getLogger(__name__)


class EventReader:
    """Reads events for whoever asks.

    State: `_heard_count`, how often something was published, `_closed`, and `_search`, of who looks far back.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._stream = Stream(bus, SETTINGS)
        self._pulse = Pulse()
        self._search = asyncio.Lock()
        self._heard_count = 0
        self._closed = False

    async def listen(self) -> None:
        """Notice for ever when something is published."""
        async with self._bus.subscribe(SUBJECTS, self._hear):
            await asyncio.Event().wait()

    def close(self) -> None:
        """End everybody's reading."""
        self._closed = True
        self._pulse.beat()

    async def latest(self, wanted: Wanted, count: int) -> Sequence[Event]:
        """The newest events that are wanted, oldest first; raises PartUnavailable without NATS."""
        end = await self._stream.last_sequence()
        found, end = await self._block(wanted, end)
        if end > 0 and len(found) < count:
            # What is rare may be far back, behind a hundred thousand others.
            async with self._search:
                while end > 0 and len(found) < count:
                    await asyncio.sleep(_BREATH_SECONDS)
                    older, end = await self._block(wanted, end)
                    found = [*older, *found]
        return found[-count:]

    async def _block(self, wanted: Wanted, end: int) -> tuple[list[Event], int]:
        """The wanted ones of the last events up to a sequence, and up to where to look for more; 0 where nowhere."""
        start = max(0, end - _BATCH)
        block = await self._between(start, end)
        if not block or _seconds(block[0]) < wanted.since:
            start = 0
        return _matching(block, wanted), start

    async def follow(self, wanted: Wanted, *, after: int, since: float | None) -> AsyncIterator[Event]:
        """Events after a sequence, or else since a time, or else from now on, for ever; none twice, none left out.

        Raises PartUnavailable without NATS at first; later it waits for NATS. Ends with this router.
        """
        cursor = await self._begin(after, since)
        unsure = False
        while True:
            self._require_open()
            heard_count, checked = self._heard_count, unsure
            try:
                cursor = await self._levelled(cursor) if unsure else cursor
                kept = await self._stream.read(cursor, subject=SUBJECTS, count=_BATCH)
                unsure = not kept
            except PartUnavailable:
                unsure = True
                await self._pulse.wait(_RETRY_SECONDS)
                continue
            for event in _matching(_events(kept), wanted):
                yield event
            cursor = kept[-1].sequence if kept else cursor
            if not kept and checked and heard_count == self._heard_count:
                await self._pulse.wait(_LOOK_SECONDS)

    async def _begin(self, after: int, since: float | None) -> int:
        """The sequence after which to go on."""
        if after:
            return await self._levelled(after)
        last = await self._stream.last_sequence()
        if since is None:
            return last
        moment = datetime.fromtimestamp(since, UTC)
        first = await self._stream.read(0, subject=SUBJECTS, count=1, since=moment)
        return first[0].sequence - 1 if first else last

    async def _levelled(self, cursor: int) -> int:
        """The cursor, or the beginning where NATS has lost its files and counts anew."""
        return cursor if cursor <= await self._stream.last_sequence() else 0

    async def _between(self, start: int, end: int) -> list[Event]:
        """Events after `start` up to `end`, oldest first; fewer where the oldest are gone already."""
        found: list[Event] = []
        while start < end:
            kept = await self._stream.read(start, subject=SUBJECTS, count=end - start)
            found += [event for event in _events(kept) if event.sequence <= end]
            if not kept:
                break
            start = kept[-1].sequence
        return found

    def _require_open(self) -> None:
        if self._closed:
            raise ReplicaClosing("This router ends the watch; watch again after the last sequence.")

    async def _hear(self, payload: bytes) -> None:
        self._heard_count += 1
        self._pulse.beat()


def _events(messages: Sequence[Kept]) -> list[Event]:
    """What was told; what somebody else published on our subjects is left out, or nobody would see anything."""
    found = []
    for kept in messages:
        try:
            event = Event.FromString(kept.payload)
        except DecodeError:
            _log.warning("event_malformed", extra={"sequence": kept.sequence})
            continue
        event.sequence = kept.sequence
        found.append(event)
    return found


def _matching(events: Sequence[Event], wanted: Wanted) -> list[Event]:
    return [e for e in events if wanted.takes(e.kind, e.model, e.node, e.details, _seconds(e))]


def _seconds(event: Event) -> float:
    return event.time.ToNanoseconds() / 1e9
