"""The four kinds of calls, typed stub to generated service."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from weft_common.errors import ModelNotFound
from weft_common.rpc import RpcServer, open_channel, stub
from weft_proto.weft.routing.v1 import (
    RouteRequest,
    RouteResponse,
    RoutingServiceBase,
    RoutingServiceStub,
    WatchFleetRequest,
    WatchFleetResponse,
)


class Routing(RoutingServiceBase):
    async def route(self, message: RouteRequest) -> RouteResponse:
        return RouteResponse(sequence=len(message.model))

    async def watch_fleet(self, message: WatchFleetRequest) -> AsyncIterator[WatchFleetResponse]:
        for sequence in (1, 2):
            yield WatchFleetResponse(sequence=message.after_sequence + sequence)


async def words(*names: str) -> AsyncIterator[RouteRequest]:
    for name in names:
        yield RouteRequest(model=name)


async def test_generated_service_and_stub_meet_over_grpc():
    async with RpcServer([Routing()]) as server:
        port = server.listen("127.0.0.1:0")
        await server.start()
        async with open_channel(f"127.0.0.1:{port}") as channel:
            routing = stub(RoutingServiceStub, channel, timeout=5.0)
            assert await routing.route(RouteRequest(model="abc")) == RouteResponse(sequence=3)
            watched = [u.sequence async for u in routing.watch_fleet(WatchFleetRequest(after_sequence=7))]
            assert watched == [8, 9]


async def test_unary_call_is_answered(serve, echo_stub):
    async with serve() as served:
        answer = await stub(echo_stub, served.channel).once(RouteRequest(model="abc"))
        assert answer == RouteResponse(sequence=3)


async def test_server_stream_arrives_in_order(serve, echo_stub):
    async with serve() as served:
        answers = [
            a.sequence async for a in stub(echo_stub, served.channel).count(RouteRequest(model="abcd"))
        ]
        assert answers == [0, 1, 2, 3]


async def test_client_stream_is_read_to_its_end(serve, echo_stub):
    async with serve() as served:
        answer = await stub(echo_stub, served.channel).gather(words("a", "bc", "def"))
        assert answer == RouteResponse(sequence=6)


async def test_client_stream_takes_a_list(serve, echo_stub):
    async with serve() as served:
        answer = await stub(echo_stub, served.channel).gather([RouteRequest(model="abc")])
        assert answer == RouteResponse(sequence=3)


async def test_streams_both_ways_interleave(serve, echo_stub):
    async with serve() as served:
        answered: asyncio.Queue[str] = asyncio.Queue(1)

        async def one_after_each_answer() -> AsyncIterator[RouteRequest]:
            yield RouteRequest(model="a")
            for _ in range(2):
                yield RouteRequest(model=await answered.get() + "a")

        answers = stub(echo_stub, served.channel, stream_timeout=5.0).chat(one_after_each_answer())
        for length in (1, 2, 3):
            assert (await anext(answers)).sequence == length
            answered.put_nowait("a" * length)
        with pytest.raises(StopAsyncIteration):
            await anext(answers)


async def test_error_raised_by_the_callers_own_requests_comes_back_as_it_was(serve, echo_stub):
    async def broken() -> AsyncIterator[RouteRequest]:
        yield RouteRequest(model="a")
        raise KeyError("mine")

    async with serve() as served:
        with pytest.raises(KeyError, match="mine"):
            await stub(echo_stub, served.channel, timeout=5.0).gather(broken())


async def collected(answers: AsyncIterator[RouteResponse]) -> list[RouteResponse]:
    return [answer async for answer in answers]


@pytest.mark.parametrize(
    "call",
    [
        lambda calls: calls.once(RouteRequest(model="fail")),
        lambda calls: collected(calls.count(RouteRequest(model="fail"))),
        lambda calls: collected(calls.chat(words("fail"))),
    ],
)
async def test_error_of_the_method_is_raised_by_the_stub(serve, echo_stub, call):
    async with serve() as served:
        served.echo.failure = ModelNotFound("there is no such model")
        with pytest.raises(ModelNotFound, match="no such model"):
            await call(stub(echo_stub, served.channel, timeout=5.0, stream_timeout=5.0))
