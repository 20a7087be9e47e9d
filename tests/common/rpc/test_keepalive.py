"""A long silence, with a proxy that pings every second."""

import asyncio

import grpc
import pytest
from tests.faults import Link

from weft_common.errors import PartUnreachable
from weft_common.rpc import RpcClient, RpcServer, upb_unary

SILENCE_SECONDS = 40.0
# What Envoy does to notice a stopped replica. A grpc server in its default settings ends such a connection after a few
# seconds with "Too many pings".
PINGS = (
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


async def test_call_of_40_silent_seconds_survives_a_ping_every_second():
    # The one test that waits for real: the silence itself is what is tested.
    async def answer_late(raw: bytes) -> bytes:
        await asyncio.sleep(SILENCE_SECONDS)
        return b"at last"

    async with RpcServer(upb=[upb_unary("/t.T/Late", answer_late, None)]) as server:
        port = server.listen("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=PINGS) as channel:
            assert (
                await RpcClient(channel, timeout=SILENCE_SECONDS + 20).unary("/t.T/Late", b"", bytes)
                == b"at last"
            )


async def test_the_calls_of_a_client_that_is_unplugged_end_soon() -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def wait_for_ever(raw: bytes) -> bytes:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return b"never"

    async with RpcServer(upb=[upb_unary("/t.T/Wait", wait_for_ever, None)], silence_seconds=0.6) as server:
        port = server.listen("127.0.0.1:0")
        await server.start()
        with Link("127.0.0.1", port) as link:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{link.port}") as channel:
                call = asyncio.ensure_future(RpcClient(channel, timeout=60).unary("/t.T/Wait", b"", bytes))
                await entered.wait()
                with link.swallowed():
                    async with asyncio.timeout(10):
                        await left.wait()
                    call.cancel()
                # The server has closed the connection, which the link may have passed on by now.
                with pytest.raises((asyncio.CancelledError, PartUnreachable)):
                    await call
