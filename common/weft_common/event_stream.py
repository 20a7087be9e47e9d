"""Events on their way to JetStream, which keeps them: in order, each once, and after an absence of NATS as before."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

from prometheus_client import CollectorRegistry, Gauge

from weft_common.background import background
from weft_common.bus import Bus
from weft_common.clock import Clock
from weft_common.errors import WeftError
from weft_common.events import Journal
from weft_common.jetstream import Stream, StreamSettings
from weft_proto.pb.weft.types.v1.event_pb2 import Event, EventKind

SUBJECTS = "weft.event.*"
SETTINGS = StreamSettings(
    name="WEFT_EVENTS",
    subjects=(SUBJECTS,),
    max_age=timedelta(days=7),
    max_messages=100_000,
    max_bytes=64 << 20,
    # An event whose acknowledgement was lost is sent again when NATS is back, which may be a while.
    duplicate_window=timedelta(hours=1),
)
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
_TICK_SECONDS = 1.0
_LAST_SECONDS = 0.5

_log = logging.getLogger(__name__)


def subject_of(kind: int) -> str:
    """Where events of a kind are published."""
    return f"weft.event.{EventKind.Name(kind).removeprefix('EVENT_KIND_').lower()}"


@contextlib.asynccontextmanager
async def open_journal(bus: Bus, clock: Clock, source: str) -> AsyncIterator[Journal]:
    """A journal whose events reach JetStream beside the body; at its end, what is left has half a second."""
    journal, courier = Journal(source, clock), _Courier(bus)
    try:
        async with background(courier.carry(journal), _keep_telling(journal)):
            yield journal
    finally:
        journal.tell_rest()
        with contextlib.suppress(TimeoutError, WeftError):
            async with asyncio.timeout(_LAST_SECONDS):
                await courier.carry_rest(journal)


def measure_events(journal: Journal, registry: CollectorRegistry) -> None:
    """Show in metrics whether events get away."""
    waiting = Gauge("weft_events_waiting", "Events that NATS does not have yet.", registry=registry)
    waiting.set_function(lambda: journal.waiting_count)
    dropped = Gauge("weft_events_dropped", "Events that were lost for want of room.", registry=registry)
    dropped.set_function(lambda: journal.dropped_count)


class _Courier:
    """Carries events to the stream; state: `_made`, whether the stream is there, and `_said`, what was logged last."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._stream = Stream(bus, SETTINGS)
        self._made = False
        self._said = ""

    async def carry(self, journal: Journal) -> None:
        """Send one event after the other for ever, each as often as it takes."""
        failures = 0
        while True:
            try:
                await self._connected(journal)
                await self._make()
                event = await journal.first()
                await self._send(event)
            except WeftError as error:
                self._made = False
                self._say("events_wait", journal, str(error))
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1
            else:
                journal.sent(event)
                failures = 0
                self._say("events_kept", journal)

    async def carry_rest(self, journal: Journal) -> None:
        """Send what is waiting; raises WeftError at the first failure."""
        while journal.waiting_count:
            event = await journal.first()
            await self._send(event)
            journal.sent(event)

    async def _connected(self, journal: Journal) -> None:
        """Wait for NATS without a word while there is nothing to send."""
        while not journal.waiting_count and not self._bus.connected:
            await self._bus.wait_connected(_RETRY_SECONDS[-1])

    async def _make(self) -> None:
        if not self._made:
            await self._stream.make()
            self._made = True

    async def _send(self, event: Event) -> None:
        await self._stream.publish(subject_of(event.kind), event.SerializeToString(), event.id)

    def _say(self, what: str, journal: Journal, reason: str = "") -> None:
        """Log when events begin to wait, for another reason or no longer."""
        if f"{what} {reason}" == self._said:
            return
        self._said = f"{what} {reason}"
        level = logging.WARNING if reason else logging.INFO
        extra: dict[str, object] = {"waiting": journal.waiting_count, "dropped": journal.dropped_count}
        _log.log(level, what, extra=extra | ({"reason": reason} if reason else {}))


async def _keep_telling(journal: Journal) -> None:
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        journal.tell_due()
