"""A probe says yes, or no, within its second."""

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from weft_common.embedded.probes import accepts, exchange, grpc_serving, http_status


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
async def mute_port() -> AsyncIterator[int]:
    """Somebody who takes connections and hangs up without a word."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_closed_port_answers_nothing(closed_port: int) -> None:
    assert not await accepts("127.0.0.1", closed_port)
    assert await http_status("127.0.0.1", closed_port, "/") is None
    assert not await grpc_serving("127.0.0.1", closed_port)


async def test_hang_up_is_no_answer(mute_port: int) -> None:
    assert await accepts("127.0.0.1", mute_port)
    assert await http_status("127.0.0.1", mute_port, "/") is None
    assert await exchange("127.0.0.1", mute_port, b"", until=b"\n") is None
    assert not await grpc_serving("127.0.0.1", mute_port)


async def test_grpc_server_is_serving_when_its_health_says_so() -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        before = await grpc_serving("127.0.0.1", port)
        await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        assert (before, await grpc_serving("127.0.0.1", port)) == (False, True)
    finally:
        await server.stop(None)
