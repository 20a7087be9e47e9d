"""Reading events from a real nats-server: none left out, none twice, whatever happens in between."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.nats_server import SOON, NatsServer, a_nats_server, connected
from weft_common.background import background
from weft_common.bus import Bus
from weft_common.clock import SystemClock
from weft_common.errors import PartUnavailable, ReplicaClosing
from weft_common.event_stream import open_journal
from weft_common.events import Journal
from weft_proto.pb.weft.types.v1.event_pb2 import EVENT_KIND_LOAD, Event
from weft_proto.weft.types.v1 import EventKind
from weft_router.events import reader
from weft_router.events.reader import EventReader
from weft_router.events.wanted import Wanted

ALL = Wanted()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with a_nats_server(tmp_path, jetstream=True) as server:
        server.start()
        yield server


@dataclass
class World:
    """A journal and a reader on one bus."""

    bus: Bus
    journal: Journal
    reader: EventReader

    async def tell(self, *whys: object, kind: EventKind = EventKind.NODE, model: str = "") -> None:
        for why in whys:
            self.journal.tell(kind, "anything", str(why), model=model)
        await self.all_sent()

    async def all_sent(self) -> None:
        async with asyncio.timeout(SOON * 2):
            while self.journal.waiting:
                await asyncio.sleep(0.01)

    async def whys(self, wanted: Wanted = ALL, count: int = 100) -> list[str]:
        return [e.why for e in await self.reader.latest(wanted, count)]


@pytest.fixture
async def world(server: NatsServer) -> AsyncIterator[World]:
    async with connected(server) as bus, open_journal(bus, SystemClock(), "router-0") as journal:
        events = EventReader(bus)
        async with background(events.listen()):
            yield World(bus, journal, events)


async def taken(stream: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(SOON * 2):
        return [await anext(stream) for _ in range(count)]


async def test_the_latest_are_listed_oldest_first(world: World) -> None:
    await world.tell(*range(10))
    events = await world.reader.latest(ALL, 3)
    assert [(e.why, e.sequence, e.source) for e in events] == [
        ("7", 8, "router-0"),
        ("8", 9, "router-0"),
        ("9", 10, "router-0"),
    ]


async def test_a_rare_event_is_found_behind_many_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_BATCH", 4)
    await world.tell("rare", kind=EventKind.LOAD, model="m")
    await world.tell(*range(20))
    assert await world.whys(Wanted(model="m")) == ["rare"]
    assert await world.whys(Wanted(kinds=frozenset({EVENT_KIND_LOAD}))) == ["rare"]
    assert await world.whys() == ["rare", *map(str, range(20))]
    assert await world.whys(Wanted(since=SystemClock().wall() + 60)) == []


async def test_who_looks_far_back_does_so_alone_and_holds_up_nobody_who_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_BATCH", 4)
    await world.tell("rare", kind=EventKind.LOAD, model="m")
    await world.tell(*range(20))
    reading, crowd, gate = 0, [0], asyncio.Event()
    between = world.reader._between

    async def watched(start: int, end: int) -> list[Event]:
        nonlocal reading
        if end <= 17:  # not the newest block
            reading += 1
            crowd.append(reading)
            await gate.wait()
            reading -= 1
        return await between(start, end)

    monkeypatch.setattr(world.reader, "_between", watched)
    async with asyncio.timeout(SOON * 2), asyncio.TaskGroup() as tasks:
        searches = [tasks.create_task(world.whys(Wanted(model="m"))) for _ in range(3)]
        while not reading:
            await asyncio.sleep(0)
        assert await world.whys(count=2) == ["18", "19"]
        gate.set()
    assert [search.result() for search in searches] == [["rare"]] * 3
    assert max(crowd) == 1


async def test_where_nothing_has_happened_nothing_is_listed(world: World) -> None:
    assert await world.whys() == []


async def test_what_is_no_event_hides_no_other(world: World) -> None:
    await world.tell("a")
    await world.bus.request("weft.event.node", b"\xff\xff", SOON)
    await world.tell("b")
    assert await world.whys() == ["a", "b"]
    async with aclosing(world.reader.follow(ALL, after=1, since=None)) as stream:
        assert [e.why for e in await taken(stream, 1)] == ["b"]


async def test_a_follower_gets_what_happens_from_now_on(world: World) -> None:
    await world.tell("before")
    async with aclosing(world.reader.follow(ALL, after=0, since=None)) as stream:
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        while world.bus.connected and not first.done():
            await world.tell("after")
        assert (await first).why == "after"


async def test_a_follower_begins_after_a_sequence_or_a_time(world: World) -> None:
    begin = SystemClock().wall()
    await world.tell("a", "b", "c")
    async with aclosing(world.reader.follow(ALL, after=2, since=None)) as stream:
        assert [e.why for e in await taken(stream, 1)] == ["c"]
    async with aclosing(world.reader.follow(ALL, after=0, since=begin - 60)) as stream:
        assert [e.why for e in await taken(stream, 3)] == ["a", "b", "c"]
    async with aclosing(world.reader.follow(Wanted(model="m"), after=0, since=begin - 60)) as stream:
        await world.tell("d", model="m")
        assert [e.why for e in await taken(stream, 1)] == ["d"]


async def test_a_follower_misses_nothing_and_gets_nothing_twice_over_an_absence_of_nats(
    world: World, server: NatsServer
) -> None:
    await world.tell("first")
    async with aclosing(world.reader.follow(ALL, after=0, since=SystemClock().wall() - 60)) as stream:
        assert [e.why for e in await taken(stream, 1)] == ["first"]
        server.stop()
        for number in range(20):
            world.journal.tell(EventKind.NODE, "anything", str(number))
        server.start()
        events = await taken(stream, 20)
    assert [e.why for e in events] == [str(n) for n in range(20)]
    assert [e.sequence for e in events] == list(range(2, 22))


async def test_a_follower_goes_on_where_nats_has_lost_its_files(world: World, server: NatsServer) -> None:
    await world.tell(*range(5))
    async with aclosing(world.reader.follow(ALL, after=4, since=None)) as stream:
        assert [e.why for e in await taken(stream, 1)] == ["4"]
        server.stop()
        assert server.files is not None
        shutil.rmtree(server.files)
        server.start()
        await world.tell("anew")
        assert [(e.why, e.sequence) for e in await taken(stream, 1)] == [("anew", 1)]
    async with aclosing(world.reader.follow(ALL, after=4, since=None)) as stream:
        assert [e.why for e in await taken(stream, 1)] == ["anew"]


async def test_without_nats_nobody_is_told_that_nothing_happened(world: World, server: NatsServer) -> None:
    server.stop()
    with pytest.raises(PartUnavailable) as refused:
        await world.whys()
    assert refused.value.metadata == {"part": "nats"}
    with pytest.raises(PartUnavailable):
        await taken(world.reader.follow(ALL, after=0, since=None), 1)


async def test_a_router_that_stops_ends_what_is_followed(world: World) -> None:
    await world.tell("a")
    async with aclosing(world.reader.follow(ALL, after=0, since=SystemClock().wall() - 60)) as stream:
        await taken(stream, 1)
        world.reader.close()
        with pytest.raises(ReplicaClosing):
            await taken(stream, 1)
