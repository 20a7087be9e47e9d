"""Routers stand in for each other, and a router's own refusal is passed on as it is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from weft_common.errors import NoCapacity, PartUnavailable
from weft_common.rpc import RpcServer, upb_unary
from weft_gateway.routers import open_routers
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb

NOBODY = ("127.0.0.1:1", "127.0.0.1:2")
SECRET = "aa"


@asynccontextmanager
async def router(route: Callable[[pb.RouteRequest], Awaitable[pb.RouteResponse]]) -> AsyncIterator[str]:
    async with RpcServer(
        upb=[upb_unary("/weft.routing.v1.RoutingService/Route", route, pb.RouteRequest)]
    ) as made:
        port = made.listen("127.0.0.1:0")
        await made.start()
        yield f"127.0.0.1:{port}"


async def test_another_router_stands_in_for_those_that_are_gone() -> None:
    async def route(request: pb.RouteRequest) -> pb.RouteResponse:
        return pb.RouteResponse(sequence=7)

    async with router(route) as address, open_routers((*NOBODY, address), SECRET) as routers:
        # The order differs from model to model; some ask the living one first, others last.
        answers = [await routers.route(f"m{n}", max_wait=1, suspects=[]) for n in range(6)]
    assert [answer.sequence for answer in answers] == [7] * 6


async def test_no_router_at_all_is_said_by_its_name() -> None:
    async with open_routers(NOBODY, SECRET) as routers:
        with pytest.raises(PartUnavailable, match="No router can be reached") as caught:
            await routers.route("m", max_wait=1, suspects=[])
    assert caught.value.metadata == {"part": "router"}
    assert caught.value.retry_after is not None


@pytest.mark.parametrize(
    "refusal", [PartUnavailable("It is gone again; try again."), NoCapacity("All full.")]
)
async def test_a_refusal_is_the_routers_own(refusal: PartUnavailable | NoCapacity) -> None:
    async def route(request: pb.RouteRequest) -> pb.RouteResponse:
        raise refusal

    async with router(route) as address, open_routers((address,), SECRET) as routers:
        with pytest.raises(type(refusal), match=refusal.message):
            await routers.route("m", max_wait=1, suspects=[])
