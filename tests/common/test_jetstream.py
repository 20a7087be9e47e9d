"""The contract of a stream, against a real nats-server with JetStream."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.nats_server import NatsServer, a_nats_server, connected
from weft_common.bus import Bus
from weft_common.errors import PartUnavailable
from weft_common.jetstream import Stream, StreamSettings

SETTINGS = StreamSettings(
    name="TESTS",
    subjects=("tests.*",),
    max_age=timedelta(days=1),
    max_messages=1000,
    max_bytes=1 << 20,
    duplicate_window=timedelta(minutes=2),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with a_nats_server(tmp_path, jetstream=True) as server:
        server.start()
        yield server


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[Bus]:
    async with connected(server) as bus:
        yield bus


async def a_stream(bus: Bus, *payloads: bytes) -> Stream:
    stream = Stream(bus, SETTINGS)
    await stream.make()
    for number, payload in enumerate(payloads):
        await stream.publish("tests.a" if number % 2 == 0 else "tests.b", payload, f"id-{number}")
    return stream


async def payloads(stream: Stream, after: int, *, count: int = 10, subject: str = "tests.*") -> list[bytes]:
    return [kept.payload for kept in await stream.read(after, subject=subject, count=count)]


async def test_what_is_published_is_read_in_order_after_any_sequence(bus: Bus) -> None:
    stream = await a_stream(bus, b"1", b"2", b"3", b"4")
    assert await stream.last_sequence() == 4
    assert await payloads(stream, 0) == [b"1", b"2", b"3", b"4"]
    assert await payloads(stream, 1, count=2) == [b"2", b"3"]
    assert await payloads(stream, 4) == []
    assert [kept.sequence for kept in await stream.read(2, subject="tests.*", count=9)] == [3, 4]
    assert await payloads(stream, 0, subject="tests.b") == [b"2", b"4"]


async def test_what_is_published_twice_is_kept_once(bus: Bus) -> None:
    stream = await a_stream(bus, b"1", b"2")
    assert await stream.publish("tests.a", b"1", "id-0") == 1
    assert await payloads(stream, 0) == [b"1", b"2"]


async def test_a_time_says_where_to_begin(bus: Bus) -> None:
    stream = await a_stream(bus, b"1")
    now = datetime.now(UTC)
    await stream.publish("tests.a", b"2", "later")
    assert [k.payload for k in await stream.read(0, subject="tests.*", count=9, since=now)] == [b"2"]
    future = now + timedelta(hours=1)
    assert list(await stream.read(0, subject="tests.*", count=9, since=future)) == []


async def test_a_stream_that_was_set_up_otherwise_stays_as_it_is(bus: Bus) -> None:
    stream = await a_stream(bus, b"1")
    await Stream(bus, replace(SETTINGS, max_messages=1)).make()
    await stream.publish("tests.a", b"2", "another")
    assert await payloads(stream, 0) == [b"1", b"2"]


async def test_a_stream_that_nobody_made_is_empty_and_takes_nothing(bus: Bus) -> None:
    stream = Stream(bus, SETTINGS)
    assert await stream.last_sequence() == 0
    with pytest.raises(PartUnavailable, match="no such stream") as refused:
        await stream.publish("tests.a", b"1", "id")
    assert refused.value.metadata == {"part": "nats"}


async def test_a_refusal_of_jetstream_is_told(bus: Bus) -> None:
    await a_stream(bus)
    with pytest.raises(PartUnavailable, match="subjects overlap"):
        await Stream(bus, replace(SETTINGS, name="OTHERS")).make()


async def test_a_server_without_jetstream_and_no_server_at_all_are_told_apart(tmp_path: Path) -> None:
    with a_nats_server(tmp_path) as plain:
        plain.start()
        async with connected(plain) as bus:
            stream = Stream(bus, SETTINGS)
            with pytest.raises(PartUnavailable, match="no JetStream"):
                await stream.make()
            plain.stop()
            for call in (stream.make(), stream.last_sequence(), stream.publish("tests.a", b"", "id")):
                with pytest.raises(PartUnavailable, match="NATS"):
                    await call
            with pytest.raises(PartUnavailable, match="NATS does not answer"):
                await stream.read(0, subject="tests.*", count=1)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"seq": "1"}'])
async def test_whoever_else_answers_is_not_believed(bus: Bus, answer: bytes) -> None:
    async def other(payload: bytes) -> bytes:
        return answer

    async with bus.respond("tests.a", other):
        with pytest.raises(PartUnavailable):
            await Stream(bus, SETTINGS).publish("tests.a", b"1", "id")
