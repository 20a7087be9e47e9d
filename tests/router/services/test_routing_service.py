"""Route: ready replicas with all that a gateway needs to pick one, or why there is none within its patience."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.router.builders import a_replica
from tests.router.loading.worlds import World, a_world, settings
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_router.fleet.entities import Changes
from weft_router.services.routing_service import RoutingService


class FakeProbe:
    """Finds everybody alive."""

    async def forget_dead(self, replica_ids: list[str]) -> None:
        pass


@asynccontextmanager
async def a_service() -> AsyncIterator[tuple[World, RoutingService]]:
    async with a_world() as world:
        yield (
            world,
            RoutingService(
                fleet=world.fleet,
                loads=world.loads,
                sync=world.sync,
                probe=FakeProbe(),  # type: ignore[arg-type]  # a fake
                settings=settings(),
                clock=world.clock,
            ),
        )


async def test_an_answer_names_each_node_of_its_replicas_once() -> None:
    async with a_service() as (world, service):
        world.fleet.apply(Changes(sequence=9, replicas=(a_replica("r-1"), a_replica("r-2"))))
        answer = await service.route(pb.RouteRequest(model="m"))
        assert [r.id for r in answer.replicas] == ["r-1", "r-2"]
        assert [n.id for n in answer.nodes] == ["n-one"]
        assert answer.sequence == 9
