"""What happened and why: told by whoever changed something, and kept here until NATS has it.

Nothing here waits or fails: what tells an event never pays for it. `event_stream.py` carries events away, and
`event_names.py` lists what is told.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from weft_common.clock import Clock
from weft_proto.pb.weft.types.v1.event_pb2 import Event
from weft_proto.weft.types.v1 import EventKind

MAX_WAITING = 10_000
MAX_COUNTED = 1_000
COUNT_SECONDS = 10.0
_MAX_WHY = 1_000
_MAX_DETAIL = 300
_MAX_DETAILS = 16


@dataclass(slots=True)
class _Counted:
    """What happens often, until the time is up at which it is told again; state: `count` and `why`, the latest one."""

    until: float
    kind: EventKind
    what: str
    about: Mapping[str, str]
    why: str = ""
    count: int = 0


class Journal:
    """Events that are still to be sent, oldest first.

    State: `_waiting`, `dropped_count` (lost for want of room), and `_counted`, by what it is about.
    """

    def __init__(self, source: str, clock: Clock, *, max_waiting: int = MAX_WAITING) -> None:
        self._source = source
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._max_waiting = max_waiting
        self._counted: dict[tuple[object, ...], _Counted] = {}
        self._some = asyncio.Event()
        self.dropped_count = 0

    @property
    def waiting(self) -> tuple[Event, ...]:
        """What is not sent yet, oldest first."""
        return tuple(self._waiting)

    @property
    def waiting_count(self) -> int:
        """How many are not sent yet; any thread may ask."""
        return len(self._waiting)

    def tell(
        self,
        kind: EventKind,
        what: str,
        why: str,
        *,
        model: str = "",
        node: str = "",
        replica_id: str = "",
        **details: object,
    ) -> None:
        """Note that `what` happened (a name of `event_names.py`), and why, in a sentence without secrets or prompts.

        `node` is the node's name. Where too many wait for NATS, the oldest is lost.
        """
        event = Event(
            id=f"e-{uuid4().hex}",
            kind=kind.value,  # type: ignore[arg-type]  # the same enum in two generated worlds
            what=what,
            why=_clean(why, _MAX_WHY),
            source=self._source,
            model=_clean(model, _MAX_DETAIL),
            node=_clean(node, _MAX_DETAIL),
            replica_id=_clean(replica_id, _MAX_DETAIL),
            details={k: _clean(_said(v), _MAX_DETAIL) for k, v in [*details.items()][:_MAX_DETAILS]},
        )
        event.time.FromNanoseconds(int(self._clock.wall() * 1e9))
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popleft()
            self.dropped_count += 1
        self._waiting.append(event)
        self._some.set()

    def tell_counted(
        self, kind: EventKind, what: str, why: str, *, reason: str = "", model: str = "", node: str = ""
    ) -> None:
        """Tell what may happen often: at once, and then every ten seconds how often it did (detail `count`)."""
        about = {"model": model, "node": node, "reason": reason}
        key = (kind, what, *about.values())
        known = self._counted.get(key)
        if known is not None:
            known.count, known.why = known.count + 1, why
            return
        if len(self._counted) >= MAX_COUNTED:
            self._end(next(iter(self._counted)))
        self._counted[key] = _Counted(self._clock.monotonic() + COUNT_SECONDS, kind, what, about)
        self._tell_count(self._counted[key], why, 1)

    def tell_due(self) -> None:
        """Tell how often happened what happens often, where it is time."""
        now = self._clock.monotonic()
        for key in [key for key, counted in self._counted.items() if now >= counted.until]:
            counted = self._counted[key]
            if counted.count:
                self._tell_count(counted, counted.why, counted.count)
                counted.count, counted.until = 0, now + COUNT_SECONDS
            else:
                del self._counted[key]

    def tell_rest(self) -> None:
        """Tell all counts at once: nobody will later."""
        for key in list(self._counted):
            self._end(key)

    async def first(self) -> Event:
        """Wait for an event and return the oldest one, which stays until `sent`."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return self._waiting[0]

    def sent(self, event: Event) -> None:
        """Forget an event that NATS has, unless it had to make room meanwhile."""
        if self._waiting and self._waiting[0] is event:
            self._waiting.popleft()

    def _end(self, key: tuple[object, ...]) -> None:
        counted = self._counted.pop(key)
        if counted.count:
            self._tell_count(counted, counted.why, counted.count)

    def _tell_count(self, counted: _Counted, why: str, count: int) -> None:
        about = {name: value for name, value in counted.about.items() if value}
        self.tell(counted.kind, counted.what, why, **about, count=count)


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _clean(text: str, limit: int) -> str:
    """What protobuf can carry, and no more of it than a line."""
    return text[:limit].encode("utf-8", "replace").decode()
