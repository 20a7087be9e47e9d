"""ListEvents and WatchEvents: what they ask of the reader, and what they refuse."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from typing import Any

import pytest

from tests.router.builders import a_fleet, a_node
from weft_common.clock import ManualClock
from weft_common.errors import InvalidRequest, PartUnavailable
from weft_proto.pb.weft.admin.v1 import event_service_pb2 as pb
from weft_proto.pb.weft.types.v1.event_pb2 import EVENT_KIND_LOAD, EVENT_KIND_UNSPECIFIED, Event
from weft_router.events.wanted import Wanted
from weft_router.services.event_service import MAX_WATCHERS, EventService

EVER = float("-inf")


class FakeReader:
    """Has one event for everybody; state: what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def latest(self, wanted: Wanted, count: int) -> Sequence[Event]:
        self.asked.append((wanted, count))
        return [Event(id="e-1")]

    async def follow(self, wanted: Wanted, *, after: int, since: float | None) -> AsyncIterator[Event]:
        self.asked.append((wanted, after, since))
        while True:
            yield Event(id="e-1")


def a_service() -> tuple[EventService, FakeReader]:
    reader = FakeReader()
    fleet = a_fleet(a_node("one"))
    return EventService(reader=reader, fleet=fleet, clock=ManualClock(1000.0)), reader  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "count"), [(0, 100), (7, 7), (1000, 1000), (5000, 1000)])
async def test_a_page_has_its_bounds(size: int, count: int) -> None:
    service, reader = a_service()
    answer = await service.list_events(pb.ListEventsRequest(page_size=size))
    assert [event.id for event in answer.events] == ["e-1"]
    assert reader.asked == [(Wanted(), count)]


async def test_a_node_may_be_named_by_its_id_and_an_age_counts_back_from_now() -> None:
    service, reader = a_service()
    told = pb.EventFilter(kinds=[EVENT_KIND_LOAD], model="m", node="n-one")
    await service.list_events(pb.ListEventsRequest(filter=told, max_age=timedelta(seconds=60)))
    assert reader.asked == [(Wanted(frozenset({EVENT_KIND_LOAD}), "m", "one", 940.0), 100)]


async def test_a_watch_begins_where_it_is_told() -> None:
    service, reader = a_service()
    request = pb.WatchEventsRequest(after_sequence=7, max_age=timedelta(seconds=60))
    async with aclosing(service.watch_events(request)) as stream:
        assert (await anext(stream)).event.id == "e-1"
    assert reader.asked == [(Wanted(), 7, 940.0)]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListEventsRequest(page_size=-1), "page_size"),
        (pb.ListEventsRequest(max_age=timedelta(seconds=-1)), "max_age"),
        (pb.ListEventsRequest(filter=pb.EventFilter(kinds=[EVENT_KIND_UNSPECIFIED])), "filter.kinds"),
        (pb.ListEventsRequest(filter=pb.EventFilter(kinds=[99])), "filter.kinds"),  # type: ignore[list-item]
    ],
)
async def test_a_field_that_cannot_be_is_named(request_: pb.ListEventsRequest, field: str) -> None:
    service, _ = a_service()
    with pytest.raises(InvalidRequest) as refused:
        await service.list_events(request_)
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_watchers_are_bounded_and_who_leaves_makes_room() -> None:
    service, _ = a_service()
    async with AsyncExitStack() as watching:
        streams = [service.watch_events(pb.WatchEventsRequest()) for _ in range(MAX_WATCHERS + 1)]
        for stream in streams[:MAX_WATCHERS]:
            await watching.enter_async_context(aclosing(stream))
            await anext(stream)
        with pytest.raises(PartUnavailable, match="follow events at this router already") as refused:
            await anext(streams[MAX_WATCHERS])
        assert (refused.value.metadata, refused.value.retry_after) == (
            {"part": "router"},
            timedelta(seconds=10),
        )
        await streams[0].aclose()
        again = await watching.enter_async_context(aclosing(service.watch_events(pb.WatchEventsRequest())))
        assert (await anext(again)).event.id == "e-1"
