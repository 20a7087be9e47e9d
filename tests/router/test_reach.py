"""What one plain connection tells where a health check had no answer."""

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from weft_router.fleet.checkups import Finding
from weft_router.probe import look_at
from weft_router.reach import reach

WAIT_SECONDS = 0.2


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(0)
        yield made


def address(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


async def test_a_closed_port_is_dead(listener: socket.socket) -> None:
    where = address(listener)
    listener.close()
    assert await reach(where, 5) is Finding.DEAD


async def test_a_connection_that_is_reset_is_dead(listener: socket.socket) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        found = tasks.create_task(reach(address(listener), 5))
        listener.setblocking(False)
        taken, _ = await asyncio.get_running_loop().sock_accept(listener)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        taken.close()
    assert found.result() is Finding.DEAD


@pytest.mark.parametrize(("said", "finding"), [(b"x", Finding.BUSY), (b"", Finding.UNREACHED)])
async def test_what_takes_connections_is_busy_unless_it_closes_them(
    listener: socket.socket, said: bytes, finding: Finding
) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        found = tasks.create_task(reach(address(listener), 5))
        listener.setblocking(False)
        taken, _ = await asyncio.get_running_loop().sock_accept(listener)
        with taken:
            taken.sendall(said)
    assert found.result() is finding


async def test_what_says_nothing_is_busy(listener: socket.socket) -> None:
    assert await reach(address(listener), WAIT_SECONDS) is Finding.BUSY


async def test_a_port_that_swallows_packets_is_not_reached(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()), socket.socket() as second:
        second.setblocking(False)
        second.connect_ex(listener.getsockname())  # with a backlog of none: whoever follows waits for ever
        assert await reach(address(listener), WAIT_SECONDS) is Finding.UNREACHED
        assert await look_at(address(listener)) is Finding.UNREACHED


@pytest.mark.parametrize(
    ("number", "finding"),
    [
        (errno.EMFILE, Finding.UNABLE),
        (errno.ENFILE, Finding.UNABLE),
        (errno.EADDRNOTAVAIL, Finding.UNABLE),
        (errno.ENETUNREACH, Finding.UNREACHED),
        (errno.EHOSTUNREACH, Finding.UNREACHED),
        (errno.ETIMEDOUT, Finding.UNREACHED),
        (errno.ECONNREFUSED, Finding.DEAD),
        (errno.ECONNRESET, Finding.DEAD),
    ],
)
async def test_trouble_on_the_way_is_no_death(
    number: int, finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(host: str, port: int) -> None:
        raise OSError(number, "no connection")

    monkeypatch.setattr("asyncio.open_connection", fail)
    assert await reach("127.0.0.1:1", 1) is finding


async def test_no_way_to_a_network_is_no_death() -> None:
    assert await look_at("255.255.255.255:9") in (Finding.UNREACHED, Finding.UNABLE)


async def test_who_cannot_even_open_a_channel_is_unable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("weft_router.probe.open_channel", fail)
    assert await look_at("127.0.0.1:1") is Finding.UNABLE
