"""AcquireSlot and ListQueues: what gateways and admins see of waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from tests.router.fakes import FakeBus
from weft_common.clock import ManualClock
from weft_common.errors import InvalidRequest, ModelNotFound, PartUnavailable, WaitTooLong
from weft_common.events import Journal
from weft_common.waiting_view import WaitingView
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.pb.weft.scheduling.v1 import scheduling_service_pb2 as scheduling_pb
from weft_router.fleet.entities import Changes, Model, Replica
from weft_router.services.slot_service import SlotService
from weft_router.slots.metrics import SlotMetrics
from weft_router.slots.queue_board import QueueBoard
from weft_router.slots.rules import QueueRules
from weft_router.slots.slots import Slots

RULES = QueueRules(model_limit=10, total_limit=10, wait_seconds=60, silent_seconds=30)


class FakeRouting:
    """Knows the fleet's models, and loads nothing; counts how often it was asked to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.asked = 0
        self.level = True

    def require_level(self) -> None:
        if not self.level:
            raise PartUnavailable("cut off", metadata={"part": "postgres"})

    def model(self, name: str) -> Model:
        if name not in self._world.fleet.models:
            raise ModelNotFound(name)
        return self._world.fleet.models[name]

    async def ready(self, model: Model, over: float) -> list[Replica]:
        self.asked += 1
        if not self._world.fleet.ready_replicas(model.name):
            self._world.fleet.apply(Changes(sequence=9, replicas=(a_replica("late"),)), now=0)
        return self._world.fleet.ready_replicas(model.name)


class World:
    """Two replicas of one slot each; state: the fleet, the clock and what waits."""

    def __init__(self, router_id: str = "r-1", bus: FakeBus | None = None) -> None:
        self.clock = ManualClock()
        replicas = [a_replica(i, slot_count=1) for i in ("x", "y")]
        self.fleet = a_fleet(a_node("one"), a_model("m"), *replicas, sequence=5)
        self.slots = Slots(
            fleet=self.fleet,
            clock=self.clock,
            router_id=router_id,
            rules=RULES,
            metrics=SlotMetrics(CollectorRegistry()),
        )
        self.bus, self.waiting = bus or FakeBus(), WaitingView(self.clock)
        self.queues = QueueBoard(
            slots=self.slots,
            bus=self.bus,  # type: ignore[arg-type]  # a fake
            waiting=self.waiting,
            clock=self.clock,
        )
        self.routing = FakeRouting(self)
        self.service = SlotService(
            routing=self.routing,  # type: ignore[arg-type]  # a fake
            fleet=self.fleet,
            slots=self.slots,
            clock=self.clock,
            wait=timedelta(seconds=60),
            journal=Journal("router-0", self.clock),
        )

    async def acquired(self, principal: str = "alice", **fields: object) -> pb.AcquireSlotResponse:
        request = pb.AcquireSlotRequest(model="m", principal=principal, gateway_id="g-1", **fields)  # type: ignore[arg-type]
        return await self.service.acquire_slot(request)

    def report(self, busy: int, **finished: int) -> None:
        report = reports_pb2.LoadReport(node_id="n-one")
        for replica in ("x", "y"):
            entry = report.replicas.add(replica_id=replica, in_flight_count=busy)
            entry.picks.add(gateway_id="r-1", contiguous=100)
            for principal, count in finished.items():
                entry.works.add(principal=principal, finished_count=count, slot_ms=2000 * count)
        self.slots.report(report)


@asynccontextmanager
async def waiting(
    world: World, *principals: str
) -> AsyncIterator[list[asyncio.Task[pb.AcquireSlotResponse]]]:
    tasks = [asyncio.ensure_future(world.acquired(p)) for p in principals]
    for _ in range(5):
        await asyncio.sleep(0)
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slot_is_a_replica_with_its_node_a_fallback_and_a_pick() -> None:
    answer = await World().acquired()
    assert {answer.replica.id, answer.fallback.id} == {"x", "y"}
    assert [node.id for node in answer.nodes] == ["n-one"]
    assert (answer.pick, answer.position, answer.sequence) == ("r-1/1", 0, 5)
    assert answer.waited.ToMilliseconds() == 0


async def test_whoever_waited_is_told_how_long_and_behind_how_many() -> None:
    world = World()
    world.report(busy=1)
    async with waiting(world, "alice", "alice", "alice") as tasks:
        world.clock.advance(1.5)
        world.report(busy=0)
        first, second = [(await task) for task in tasks[:2]]
        assert (first.position, second.position) == (0, 1)
        assert first.waited.ToMilliseconds() == 1500
        assert not tasks[2].done()


async def test_an_unknown_model_and_a_weight_that_is_none_are_refused() -> None:
    world = World()
    with pytest.raises(ModelNotFound):
        await world.service.acquire_slot(pb.AcquireSlotRequest(model="nope"))
    for weight in (-1.0, float("inf"), float("nan")):
        with pytest.raises(InvalidRequest, match="weight"):
            await world.acquired(weight=weight)


async def test_a_caller_waits_no_longer_than_it_says() -> None:
    world = World()
    world.report(busy=1)
    request = pb.AcquireSlotRequest(model="m", principal="alice")
    request.max_wait.FromSeconds(0)
    with pytest.raises(WaitTooLong):
        await world.service.acquire_slot(request)


async def test_where_the_last_replica_goes_a_new_one_is_loaded_for_those_who_wait() -> None:
    world = World()
    world.report(busy=1)
    async with waiting(world, "alice") as (task,):
        world.fleet.apply(Changes(sequence=8, gone_replicas=("x", "y")), now=0)
        world.slots.stir()
        assert (await task).replica.id == "late"
    assert world.routing.asked == 2


async def test_queues_are_told_by_model_and_principal() -> None:
    world = World()
    world.report(busy=1)
    world.report(busy=1, zoe=1)
    async with waiting(world, "bob", "alice", "bob"):
        world.clock.advance(2)
        (queue,) = (await world.queues.list_queues(scheduling_pb.ListQueuesRequest())).queues
    assert (queue.model, queue.waiting_count, queue.slot_count) == ("m", 3, 2)
    assert queue.service_time.ToMilliseconds() == 2000
    assert [(p.principal, p.waiting_count) for p in queue.principals] == [("bob", 2), ("alice", 1)]
    assert queue.principals[0].longest.ToMilliseconds() == 2000


async def test_without_anybody_waiting_there_are_no_queues() -> None:
    world = World()
    await world.acquired()
    assert not (await world.queues.list_queues(scheduling_pb.ListQueuesRequest())).queues


async def test_a_router_that_is_cut_off_hands_out_slots_to_those_only_who_found_no_other() -> None:
    world = World()
    world.routing.level = False
    with pytest.raises(PartUnavailable):
        await world.acquired()
    assert (await world.acquired(stale_accepted=True)).pick


def told(world: World, router: str, **counts: int) -> None:
    report = reports_pb2.WaitingReport(router_id=router)
    for model, count in counts.items():
        report.queues.add(model=model, waiting_count=count)
    world.waiting.take(report)


async def test_queues_of_all_routers_are_told_by_whichever_is_asked() -> None:
    bus = FakeBus()
    here, there = World("r-1", bus), World("r-2", bus)
    for world in (here, there):
        world.report(busy=1)
        world.report(busy=1, zoe=1)
    async with waiting(here, "bob"), waiting(there, "alice", "bob", "alice"):
        told(here, "r-1", m=1)
        told(here, "r-2", m=3)
        told(here, "r-3", gone=2)
        bus.responders["weft.queues.r-2"] = there.queues._tell
        there.clock.advance(2)
        queues = (await here.queues.list_queues(scheduling_pb.ListQueuesRequest())).queues
        local = (await here.queues.list_queues(scheduling_pb.ListQueuesRequest(local_only=True))).queues
    assert [(q.model, q.waiting_count, q.slot_count) for q in queues] == [("m", 4, 2), ("gone", 2, 0)]
    assert [(p.principal, p.waiting_count) for p in queues[0].principals] == [("alice", 2), ("bob", 2)]
    assert [p.longest.ToMilliseconds() for p in queues[0].principals] == [2000, 2000]
    assert queues[0].service_time.ToMilliseconds() == 2000
    assert [(q.model, q.waiting_count) for q in local] == [("m", 1)]


async def test_a_router_without_nats_tells_its_own_queues() -> None:
    world = World()
    world.report(busy=1)
    async with waiting(world, "bob"):
        (queue,) = (await world.queues.list_queues(scheduling_pb.ListQueuesRequest())).queues
    assert queue.waiting_count == 1
