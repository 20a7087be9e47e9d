"""The contract of the bus, against a real nats-server."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tests.nats_server import SOON, TOKEN, NatsServer, a_nats_server, connected
from weft_common.bus import Bus, open_bus
from weft_common.errors import DeadlineExceeded, InternalError, PartUnavailable


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with a_nats_server(tmp_path) as server:
        yield server


async def until_disconnected(bus: Bus) -> None:
    async with asyncio.timeout(SOON * 2):
        while bus.connected:
            await asyncio.sleep(0.01)


async def test_a_published_message_reaches_every_subscriber(server: NatsServer) -> None:
    server.start()
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    async with (
        connected(server) as one,
        connected(server) as two,
        one.subscribe("weft.load.*", seen.put),
        two.subscribe("weft.load.*", seen.put),
    ):
        assert await two.publish("weft.load.n1", b"\x00busy")
        async with asyncio.timeout(SOON):
            assert [await seen.get(), await seen.get()] == [b"\x00busy"] * 2


async def test_messages_arrive_in_order_and_a_failing_handler_loses_only_its_own(server: NatsServer) -> None:
    server.start()
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(payload: bytes) -> None:
        if payload == b"1":
            raise ValueError("bad message")
        await seen.put(payload)

    async with connected(server) as bus, bus.subscribe("a.b", handler):
        for number in range(4):
            await bus.publish("a.b", str(number).encode())
        async with asyncio.timeout(SOON):
            assert [await seen.get() for _ in range(3)] == [b"0", b"2", b"3"]


async def test_a_subscription_ends_with_its_body(server: NatsServer) -> None:
    server.start()
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    async with connected(server) as bus:
        async with bus.subscribe("a", seen.put):
            pass
        async with bus.subscribe("b", seen.put):
            await bus.publish("a", b"late")
            await bus.publish("b", b"present")
            async with asyncio.timeout(SOON):
                assert await seen.get() == b"present"
    assert seen.empty()


async def test_a_request_gets_its_answer(server: NatsServer) -> None:
    server.start()

    async def double(payload: bytes) -> bytes:
        return payload * 2

    async with connected(server) as worker, connected(server) as router, worker.respond("x.y", double):
        assert await router.request("x.y", b"ab", SOON) == b"abab"


async def test_a_slow_answer_does_not_hold_up_the_next(server: NatsServer) -> None:
    server.start()
    gate = asyncio.Event()

    async def answer(payload: bytes) -> bytes:
        if payload == b"slow":
            await gate.wait()
        return payload

    async with connected(server) as worker, connected(server) as router, worker.respond("x", answer):
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(router.request("x", b"slow", SOON))
            assert await router.request("x", b"quick", SOON) == b"quick"
            gate.set()
        assert slow.result() == b"slow"


async def test_without_a_responder_the_worker_is_the_missing_part(server: NatsServer) -> None:
    server.start()
    async with connected(server) as bus:
        with pytest.raises(PartUnavailable) as caught:
            await bus.request("weft.node.gone.backend.stop", b"", SOON)
    assert caught.value.metadata == {"part": "worker"}
    assert caught.value.retry_after is not None


async def test_an_answer_that_does_not_come_is_a_deadline(server: NatsServer) -> None:
    server.start()

    async def silent(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with connected(server) as bus, bus.respond("x", silent):
        with pytest.raises(DeadlineExceeded):
            await bus.request("x", b"", 0.05)


async def test_a_failing_responder_says_so(server: NatsServer) -> None:
    server.start()

    async def broken(_: bytes) -> bytes:
        raise KeyError("lost")

    async with connected(server) as bus, bus.respond("x", broken):
        with pytest.raises(InternalError, match="KeyError: 'lost'"):
            await bus.request("x", b"", SOON)


async def test_opening_does_not_wait_for_nats_and_nothing_is_kept_for_later(server: NatsServer) -> None:
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    async with open_bus(server.url, name="early") as bus, bus.subscribe("a", seen.put):
        assert not bus.connected
        assert not await bus.publish("a", b"before")
        with pytest.raises(PartUnavailable) as caught:
            await bus.request("x", b"", SOON)
        assert caught.value.metadata == {"part": "nats"}
        assert caught.value.retry_after is not None
        server.start()
        assert await bus.wait_connected(SOON)
        assert await bus.publish("a", b"after")
        async with asyncio.timeout(SOON):
            assert await seen.get() == b"after"


async def test_subscriptions_and_responders_come_back_with_a_restarted_server(server: NatsServer) -> None:
    server.start()
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def echo(payload: bytes) -> bytes:
        return payload

    async with connected(server) as bus, bus.subscribe("a", seen.put), bus.respond("x", echo):
        for _ in range(2):
            server.stop()
            await until_disconnected(bus)
            server.start()
            assert await bus.wait_connected(SOON)
        await bus.publish("a", b"again")
        assert await bus.request("x", b"still", SOON) == b"still"
        async with asyncio.timeout(SOON):
            assert await seen.get() == b"again"


async def test_a_request_under_way_fails_at_once_when_nats_goes(server: NatsServer) -> None:
    server.start()
    asked = asyncio.Event()

    async def silent(_: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    async with connected(server) as bus, bus.respond("x", silent), asyncio.TaskGroup() as tasks:
        request = tasks.create_task(_failure(bus.request("x", b"", 60.0)))
        await asked.wait()
        server.stop()
        async with asyncio.timeout(SOON):
            assert (await request).metadata == {"part": "nats"}


async def test_an_answer_in_the_making_survives_a_lost_connection(server: NatsServer) -> None:
    server.start()
    asked, gate, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def install(_: bytes) -> bytes:
        asked.set()
        await gate.wait()
        finished.set()
        return b""

    async with connected(server) as bus, bus.respond("x", install), asyncio.TaskGroup() as tasks:
        tasks.create_task(_failure(bus.request("x", b"", 60.0)))
        await asked.wait()
        server.stop()
        await until_disconnected(bus)
        gate.set()
        async with asyncio.timeout(SOON):
            await finished.wait()


async def test_a_stopped_server_is_noticed_and_left_behind(server: NatsServer) -> None:
    server.start()
    async with connected(server) as bus:
        server.send(signal.SIGSTOP)
        await until_disconnected(bus)
        server.send(signal.SIGCONT)
        assert await bus.wait_connected(SOON)


async def test_a_refused_token_is_logged_once_and_tried_for_ever(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.token = "another"
    server.start()
    async with open_bus(server.url, name="test") as bus:
        assert not await bus.wait_connected(0.8)
        server.stop()
        server.token = TOKEN
        server.start()
        assert await bus.wait_connected(SOON)
    events = [record.message for record in caplog.records if record.name.startswith(("weft", "nats"))]
    assert events[0] == "bus_unreachable"
    assert events[-1] == "bus_connected"
    assert len(events) <= 4, caplog.text
    assert TOKEN not in caplog.text


async def test_a_cancellation_that_the_library_swallows_is_honoured(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    flushing = asyncio.Event()

    async def swallow(*_: object) -> None:
        flushing.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def subscribe(bus: Bus) -> None:
        async with bus.respond("x", _echo):
            await asyncio.Event().wait()

    async with asyncio.timeout(SOON), connected(server) as bus, asyncio.TaskGroup() as tasks:
        monkeypatch.setattr(Client, "flush", swallow)
        task = tasks.create_task(subscribe(bus))
        await flushing.wait()
        task.cancel()


async def _echo(payload: bytes) -> bytes:
    return payload


async def _failure(request: Coroutine[Any, Any, bytes]) -> PartUnavailable:
    with pytest.raises(PartUnavailable) as caught:
        await request
    return caught.value
