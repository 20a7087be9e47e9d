"""Events reach JetStream in order, each once, also those of a time without NATS."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.nats_server import SOON, NatsServer, a_nats_server, connected
from weft_common.bus import Bus, open_bus
from weft_common.clock import SystemClock
from weft_common.errors import PartUnavailable
from weft_common.event_stream import SETTINGS, SUBJECTS, measure_events, open_journal, subject_of
from weft_common.events import Journal
from weft_common.jetstream import Stream
from weft_common.metrics import new_registry
from weft_proto.pb.weft.types.v1.event_pb2 import EVENT_KIND_LOAD, EVENT_KIND_REFUSAL, Event
from weft_proto.weft.types.v1 import EventKind


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with a_nats_server(tmp_path, jetstream=True) as server:
        yield server


def tell(journal: Journal, *whys: object) -> None:
    for why in whys:
        journal.tell(EventKind.NODE, "node_left", str(why))


async def kept(bus: Bus) -> Sequence[Event]:
    found = await Stream(bus, SETTINGS).read(0, subject=SUBJECTS, count=1000)
    return [Event.FromString(k.payload) for k in found]


async def all_sent(journal: Journal) -> None:
    async with asyncio.timeout(SOON):
        while journal.waiting:
            await asyncio.sleep(0.01)


def test_each_kind_has_a_subject_of_its_own() -> None:
    assert (subject_of(EVENT_KIND_LOAD), subject_of(EVENT_KIND_REFUSAL)) == (
        "weft.event.load",
        "weft.event.refusal",
    )


async def test_what_is_told_is_kept_in_order(server: NatsServer) -> None:
    server.start()
    async with connected(server) as bus, open_journal(bus, SystemClock(), "router-0") as journal:
        tell(journal, *range(20))
        told = journal.waiting
        await all_sent(journal)
        assert await kept(bus) == list(told)


def test_metrics_tell_what_waits_and_what_was_lost() -> None:
    registry, journal = new_registry(), Journal("r", SystemClock(), max_waiting=2)
    measure_events(journal, registry)
    tell(journal, 1, 2, 3)
    names = ("weft_events_waiting", "weft_events_dropped")
    assert [registry.get_sample_value(name) for name in names] == [2, 1]


async def test_what_is_told_before_and_without_nats_is_kept_once_it_is_there(server: NatsServer) -> None:
    async with open_bus(server.url, name="test") as bus, open_journal(bus, SystemClock(), "r") as journal:
        tell(journal, "a", "b")
        server.start()
        await all_sent(journal)
        server.stop()
        for number in range(50):
            tell(journal, number)
            await asyncio.sleep(0)
        server.start()
        await all_sent(journal)
        assert [e.why for e in await kept(bus)] == ["a", "b", *map(str, range(50))]


async def test_an_event_whose_acknowledgement_was_lost_is_kept_once(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    publish, lost = Stream.publish, []

    async def lossy(self: Stream, subject: str, payload: bytes, message_id: str) -> int:
        sequence = await publish(self, subject, payload, message_id)
        if message_id not in lost:
            lost.append(message_id)
            raise PartUnavailable("the answer was lost")
        return sequence

    monkeypatch.setattr(Stream, "publish", lossy)
    async with connected(server) as bus, open_journal(bus, SystemClock(), "r") as journal:
        tell(journal, "a", "b")
        await all_sent(journal)
        assert [e.why for e in await kept(bus)] == ["a", "b"]
    assert len(lost) == 2


async def test_what_is_told_at_the_very_end_is_sent_before_the_journal_closes(server: NatsServer) -> None:
    server.start()
    async with connected(server) as bus:
        async with open_journal(bus, SystemClock(), "r") as journal:
            tell(journal, "first")
            await all_sent(journal)
            for _ in range(3):
                journal.tell_counted(EventKind.REFUSAL, "refused", "no room", model="m")
            tell(journal, "last")
        assert [(e.why, e.details.get("count")) for e in await kept(bus)] == [
            ("first", None),
            ("no room", "1"),
            ("last", None),
            ("no room", "2"),
        ]


async def test_a_nats_without_jetstream_costs_one_line_and_nobody_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, tries = Stream.make, asyncio.Semaphore(0)

    async def counted(self: Stream) -> None:
        tries.release()
        await make(self)

    monkeypatch.setattr(Stream, "make", counted)
    caplog.set_level(logging.INFO, "weft_common.event_stream")
    with a_nats_server(tmp_path) as plain:
        plain.start()
        async with connected(plain) as bus, open_journal(bus, SystemClock(), "r") as journal:
            tell(journal, "a")
            async with asyncio.timeout(SOON):
                for _ in range(4):
                    await tries.acquire()
            assert len(journal.waiting) == 1
    (line,) = [r for r in caplog.records if r.name == "weft_common.event_stream"]
    assert (line.message, "no JetStream" in str(vars(line)["reason"])) == ("events_wait", True)
