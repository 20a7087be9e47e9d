"""What happened and why, as admins list and follow it; on upb classes since answers hold a thousand events."""

from collections.abc import AsyncIterator
from datetime import timedelta

from weft_common.clock import Clock
from weft_common.errors import FieldViolation, InvalidRequest, PartUnavailable
from weft_proto.pb.weft.admin.v1 import event_service_pb2 as pb
from weft_proto.pb.weft.types.v1.event_pb2 import EventKind
from weft_router.events.reader import EventReader
from weft_router.events.wanted import Wanted
from weft_router.fleet.fleet import Fleet

MAX_WATCHERS = 100
_DEFAULT_PAGE = 100
_MAX_PAGE = 1_000
_RETRY_AFTER = timedelta(seconds=10)


class EventService:
    """weft.admin.v1.EventService; state: `_watcher_count`."""

    def __init__(self, *, reader: EventReader, fleet: Fleet, clock: Clock) -> None:
        self._reader = reader
        self._fleet = fleet
        self._clock = clock
        self._watcher_count = 0

    async def list_events(self, request: pb.ListEventsRequest) -> pb.ListEventsResponse:
        if request.page_size < 0:
            raise _wrong("page_size", "0 or more is needed")
        wanted = self._wanted(request.filter, self._since(request))
        count = min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        return pb.ListEventsResponse(events=await self._reader.latest(wanted, count))

    async def watch_events(self, request: pb.WatchEventsRequest) -> AsyncIterator[pb.WatchEventsResponse]:
        wanted, since = self._wanted(request.filter, None), self._since(request)
        if self._watcher_count >= MAX_WATCHERS:
            raise PartUnavailable(
                f"{MAX_WATCHERS} callers follow events at this router already; try again later.",
                retry_after=_RETRY_AFTER,
                metadata={"part": "router"},
            )
        self._watcher_count += 1
        try:
            async for event in self._reader.follow(wanted, after=request.after_sequence, since=since):
                yield pb.WatchEventsResponse(event=event)
        finally:
            self._watcher_count -= 1

    def _wanted(self, told: pb.EventFilter, since: float | None) -> Wanted:
        unknown = [k for k in told.kinds if k not in EventKind.values() or not k]
        if unknown:
            raise _wrong("filter.kinds", f"there is no kind of event {unknown[0]}")
        node = self._fleet.nodes.get(told.node)
        return Wanted(
            kinds=frozenset(told.kinds),
            model=told.model,
            node=node.name if node else told.node,
            since=float("-inf") if since is None else since,
        )

    def _since(self, request: pb.ListEventsRequest | pb.WatchEventsRequest) -> float | None:
        if not request.HasField("max_age"):
            return None
        age = request.max_age.ToNanoseconds() / 1e9
        if age < 0:
            raise _wrong("max_age", "0 seconds or more are needed")
        return self._clock.wall() - age


def _wrong(field: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {problem}", violations=[FieldViolation(field, problem)])
