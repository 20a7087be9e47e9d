"""Route: ready replicas with all that a gateway needs to pick one, or why there is none within its patience."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.router.builders import a_replica
from tests.router.loading.worlds import World, a_world, settings
from weft_common.clock import ManualClock
from weft_common.errors import ModelLoading, PartUnavailable
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_router.fleet.entities import Changes, Model
from weft_router.services.routing_service import RoutingService
from weft_router.sync import STALE_SECONDS


class FakeProbe:
    """Finds everybody alive."""

    async def forget_dead(self, replica_ids: list[str]) -> None:
        pass


class FakeLoads:
    """Loads that take `seconds` each, and are gone when they end."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.waits: list[float] = []

    async def ensure(self, model: Model, max_wait: float) -> None:
        self.waits.append(max_wait)
        self.clock.advance(min(self.seconds, max_wait))
        if self.seconds > max_wait:
            raise ModelLoading("still loading")


@asynccontextmanager
async def a_service(loads: FakeLoads | None = None) -> AsyncIterator[tuple[World, RoutingService]]:
    async with a_world() as world:
        yield (
            world,
            RoutingService(
                fleet=world.fleet,
                loads=loads or world.loads,  # type: ignore[arg-type]  # a fake
                sync=world.sync,
                probe=FakeProbe(),  # type: ignore[arg-type]  # a fake
                settings=settings(),
                clock=loads.clock if loads else world.clock,
                journal=world.journal,
            ),
        )


async def test_an_answer_names_each_node_of_its_replicas_once() -> None:
    async with a_service() as (world, service):
        world.fleet.apply(Changes(sequence=9, replicas=(a_replica("r-1"), a_replica("r-2"))))
        answer = await service.route(pb.RouteRequest(model="m"))
        assert [r.id for r in answer.replicas] == ["r-1", "r-2"]
        assert [n.id for n in answer.nodes] == ["n-one"]
        assert answer.sequence == 9


async def test_several_loads_share_the_callers_patience() -> None:
    loads = FakeLoads(ManualClock(), seconds=25)
    request = pb.RouteRequest(model="m")
    request.max_wait.FromSeconds(60)
    async with a_service(loads) as (_, service):
        with pytest.raises(ModelLoading):
            await service.route(request)
    assert loads.waits == [60, 35, 10]


async def test_a_caller_without_patience_is_told_how_far_the_load_is() -> None:
    request = pb.RouteRequest(model="m")
    request.max_wait.FromSeconds(0)
    async with a_service() as (_, service):
        with pytest.raises(ModelLoading):
            await service.route(request)


async def test_a_router_that_is_cut_off_leaves_models_to_another_one() -> None:
    async with a_service() as (world, service):
        world.clock.advance(STALE_SECONDS)
        for model in ("m", "new"):
            with pytest.raises(PartUnavailable) as caught:
                await service.route(pb.RouteRequest(model=model))
            assert caught.value.metadata == {"part": "postgres"}
