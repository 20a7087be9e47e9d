"""Deadlines, metadata and leaving, from the caller's side."""

import asyncio

import orjson
import pytest

from weft_common.errors import DeadlineExceeded, InternalError, PartUnavailable
from weft_common.rpc import RpcClient, current_call, open_channel, stub, upb_stream, upb_unary
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.weft.routing.v1 import RouteRequest, RouteResponse

SOON = 5.0


async def say_context(raw: bytes) -> bytes:
    call = current_call()
    call.set_initial_metadata([("x-weft-node", "a"), ("x-weft-replica", "m#0@1")])
    call.set_initial_metadata([("x-weft-node", "b")])
    call.add_trailing_metadata([("x-tokens", "3")])
    return orjson.dumps([dict(call.metadata), call.deadline_seconds()])


async def stream_context(raw: bytes):
    yield await say_context(raw)
    yield b"second"


@pytest.fixture
def context_methods():
    return [upb_unary("/t.T/Once", say_context, None), upb_stream("/t.T/Many", stream_context, None)]


async def test_timeout_of_a_call_ends_it(serve, echo_stub):
    async with serve() as served:
        with pytest.raises(DeadlineExceeded):
            await stub(echo_stub, served.channel, timeout=SOON).hold(RouteRequest(), timeout=0.5)
        await asyncio.wait_for(served.echo.left.wait(), SOON)


async def test_timeout_of_the_stub_ends_a_call(serve, echo_stub):
    async with serve() as served:
        with pytest.raises(DeadlineExceeded):
            await stub(echo_stub, served.channel, timeout=0.05).hold(RouteRequest())


async def test_stream_has_a_timeout_of_its_own(serve, echo_stub):
    async with serve() as served:
        calls = stub(echo_stub, served.channel, timeout=SOON, stream_timeout=0.05)
        with pytest.raises(DeadlineExceeded):
            [a async for a in calls.count(RouteRequest(model="?"))]


async def test_handler_sees_the_callers_deadline(serve, context_methods):
    async with serve(upb=context_methods) as served:
        client = RpcClient(served.channel, timeout=30.0)
        _, patient = orjson.loads(await client.unary("/t.T/Once", b"", bytes))
        _, hurried = orjson.loads(await client.unary("/t.T/Once", b"", bytes, timeout=3.0))
        _, endless = orjson.loads(await RpcClient(served.channel).unary("/t.T/Once", b"", bytes))
        # The header grpc-timeout is rounded up a little.
        assert 20.0 < patient < 31.0
        assert 1.0 < hurried < 4.0
        assert endless is None


async def test_metadata_of_client_and_call_both_arrive(serve, context_methods):
    async with serve(upb=context_methods) as served:
        client = RpcClient(served.channel, metadata={"x-one": "1"})
        metadata, _ = orjson.loads(await client.unary("/t.T/Once", b"", bytes, metadata=[("x-two", "2")]))
        assert {"x-one": "1", "x-two": "2"}.items() <= metadata.items()


async def test_answers_metadata_is_heard(serve, context_methods):
    heard: list[dict[str, str]] = []
    async with serve(upb=context_methods) as served:
        client = RpcClient(served.channel, on_metadata=lambda pairs: heard.append(dict(pairs)))
        await client.unary("/t.T/Once", b"", bytes)
        [a async for a in client.stream("/t.T/Many", b"", bytes)]
    initial, trailing = {"x-weft-node": "b", "x-weft-replica": "m#0@1"}, {"x-tokens": "3"}
    assert heard == [initial, trailing] * 2


async def test_cancelled_caller_cancels_the_handler(serve, echo_stub):
    async with serve() as served:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(stub(echo_stub, served.channel).hold(RouteRequest()))
            await asyncio.wait_for(served.echo.entered.wait(), SOON)
            call.cancel()
        await asyncio.wait_for(served.echo.left.wait(), SOON)
        assert call.cancelled()


async def test_cancelled_reader_closes_the_generator(serve, echo_stub):
    async with serve() as served:

        async def read() -> None:
            async for _ in stub(echo_stub, served.channel).count(RouteRequest(model="ab?")):
                pass

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read())
            await asyncio.wait_for(served.echo.entered.wait(), SOON)
            reader.cancel()
        await asyncio.wait_for(served.echo.left.wait(), SOON)


async def test_dropped_stream_closes_the_generator(serve, echo_stub):
    async with serve() as served:
        async for _ in stub(echo_stub, served.channel).count(RouteRequest(model="ab?")):
            break
        await asyncio.wait_for(served.echo.left.wait(), SOON)


async def test_closed_stream_closes_the_generator(serve, path):
    async with serve() as served:
        answers = RpcClient(served.channel).stream(f"{path}Count", RouteRequest(model="ab?"), RouteResponse)
        await anext(answers)
        await answers.aclose()
        await asyncio.wait_for(served.echo.left.wait(), SOON)


async def test_closed_channel_ends_a_stream_with_an_error_and_no_cancellation(serve, path):
    async with serve() as served, asyncio.TaskGroup() as group:
        async with open_channel(f"127.0.0.1:{served.port}") as channel:
            answers = RpcClient(channel).stream(f"{path}Count", RouteRequest(model="?"), RouteResponse)
            reader = group.create_task(fails_unavailable(answers))
            await asyncio.wait_for(served.echo.entered.wait(), SOON)
        await asyncio.wait_for(reader, SOON)


async def fails_unavailable(answers) -> None:
    with pytest.raises(PartUnavailable):
        await anext(answers)


async def test_call_on_a_closed_channel_says_so(serve, echo_stub):
    async with serve() as served:
        async with open_channel(f"127.0.0.1:{served.port}") as channel:
            calls = stub(echo_stub, channel)
        with pytest.raises(PartUnavailable):
            await calls.once(RouteRequest())


async def test_part_that_does_not_listen_is_unavailable(serve, echo_stub):
    async with serve() as served:
        await served.server.stop(0)
        async with open_channel(f"127.0.0.1:{served.port}") as channel:
            with pytest.raises(PartUnavailable) as raised:
                await stub(echo_stub, channel, timeout=SOON).once(RouteRequest())
        assert raised.value.metadata == {"part": "weft.test.v1.EchoService"}


async def test_answer_that_is_no_message_is_an_internal_error(serve):
    async def garbage(raw: bytes) -> bytes:
        return b"\xff\xff\xff"

    async with serve(upb=[upb_unary("/t.T/Garbage", garbage, None)]) as served:
        with pytest.raises(InternalError):
            await RpcClient(served.channel).unary("/t.T/Garbage", b"", pb.RouteResponse)
