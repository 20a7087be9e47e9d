"""Waiting: who asks a router for a slot, who waits here, and what is said to whoever gets none."""

import asyncio
from typing import Any

import pytest

from tests.gateway.admission_world import FIRST, SECOND, SECRET, FakeRouters, World
from tests.gateway.builders import a_full_update, a_model, a_node, a_replica, an_update
from weft_common.errors import ModelNotFound, PartUnavailable, WaitTooLong, WeftError
from weft_common.ticket import verify
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb


async def test_with_a_free_slot_elsewhere_a_full_replica_waits_for_nobody() -> None:
    world = World()
    small = a_replica("r-1", slot_count=1)
    large = a_replica("r-2", slot_count=8, node_id="n-2", address="127.0.0.1:8")
    world.view.apply(
        a_full_update(nodes=[a_node(), a_node("n-2")], replicas=[small, large], heard=("n-1", "n-2"))
    )
    went = [await world.served(b"", done=False) for _ in range(9)]
    assert (went.count("7"), went.count("8")) == (1, 8)


def a_slot(**fields: Any) -> pb.AcquireSlotResponse:
    """What a router answers: the replica at port 7, by its pick number 5."""
    values: dict[str, Any] = {"replica": a_replica(), "nodes": [a_node()], "pick": "r-1/5", "position": 3}
    answer = pb.AcquireSlotResponse(**(values | fields))
    answer.waited.FromMilliseconds(1500)
    return answer


async def test_with_every_slot_taken_a_router_hands_one_out() -> None:
    world = World(FakeRouters(slots=[a_slot()]), debug_headers=True)
    world.view.apply(a_full_update())
    world.fill()
    admitted = await world.admitted()
    assert world.routers.acquired == [("m", "alice", 2.0, 1)]
    assert admitted.headers["x-weft-destination"] == "127.0.0.1:7"
    assert admitted.headers["x-weft-pick"] == "r-1/5"
    assert admitted.headers["x-envoy-max-retries"] == "0"
    assert admitted.answer_headers == {"x-weft-queue-position": "3", "x-weft-queue-wait-ms": "1500"}
    assert world.admitted_by("router") == 1


async def test_a_handed_out_slot_may_have_a_fallback_and_the_ticket_names_both() -> None:
    second = a_replica("r-2", node_id="n-2", address="127.0.0.1:8")
    answer = a_slot(fallback=second, nodes=[a_node(), a_node("n-2")])
    world = World(FakeRouters(slots=[answer]))
    world.view.apply(a_full_update())
    world.fill()
    headers = await world.headers()
    assert headers["x-weft-fallback"] == "127.0.0.1:8"
    for name in (FIRST, SECOND):
        verify(headers["x-weft-ticket"], mesh_secret=SECRET, replica=name, now=1_000)


async def test_nobody_passes_those_who_wait_at_a_router_until_it_tells_otherwise() -> None:
    world = World(FakeRouters(slots=[a_slot(), a_slot()]))
    world.view.apply(a_full_update())
    world.told("m", "other")
    assert (await world.headers())["x-weft-pick"] == "r-1/5"
    world.told("other")
    assert (await world.headers())["x-weft-pick"] == "g-1/1"
    world.told("m")
    world.clock.advance(3.1)
    assert (await world.headers())["x-weft-pick"] == "g-1/2"


async def test_nobody_passes_those_who_wait_in_this_gateway() -> None:
    world = World(FakeRouters(slots=[a_slot(), a_slot(pick="r-1/6")]))
    world.routers.hold = asyncio.Event()
    world.view.apply(a_full_update())
    world.fill()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(world.headers())]
        while not world.routers.acquired:
            await asyncio.sleep(0)
        world.finish()
        asking.append(tasks.create_task(world.headers()))
        while len(world.routers.acquired) < 2:
            await asyncio.sleep(0)
        world.routers.hold.set()
    assert [task.result()["x-weft-pick"] for task in asking] == ["r-1/5", "r-1/6"]
    assert (await world.headers())["x-weft-pick"] == "g-1/1"


async def test_without_a_router_the_gateway_queues_itself_in_order_of_arrival() -> None:
    world = World()
    world.view.apply(a_full_update())
    world.fill()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(world.headers()) for _ in range(2)]
        while world.local.waiting_count < 2:
            await asyncio.sleep(0)
        world.finish()
        world.local.stir_all()
    assert [task.result()["x-weft-pick"] for task in asking] == ["g-1/1", "g-1/2"]
    assert world.admitted_by("gateway_queue") == 2


async def test_without_a_router_the_wait_ends_at_its_deadline() -> None:
    world = World()
    world.view.apply(a_full_update())
    world.fill()

    def pass_time() -> None:
        world.clock.advance(25)
        world.fill()

    world.routers.meanwhile = pass_time
    with pytest.raises(WaitTooLong) as refusal:
        await world.headers()
    assert refusal.value.retry_after is not None
    assert len(world.routers.acquired) == 3
    assert world.local.waiting_count == 0


async def test_a_client_with_a_deadline_of_its_own_waits_no_longer() -> None:
    world = World()
    world.view.apply(a_full_update())
    world.fill()

    def pass_time() -> None:
        world.clock.advance(1.5)
        world.fill()

    world.routers.meanwhile = pass_time
    with pytest.raises(WaitTooLong):
        await world.admitted(patience=1.0)
    assert len(world.routers.acquired) == 1


async def test_without_a_router_and_without_a_replica_left_it_says_what_is_missing() -> None:
    world = World()
    world.view.apply(a_full_update())
    world.fill()
    world.routers.meanwhile = lambda: world.view.gone(["r-1"])
    with pytest.raises(PartUnavailable, match="No router"):
        await world.headers()


@pytest.mark.parametrize(("is_left", "kind"), [(True, WaitTooLong), (False, PartUnavailable)])
async def test_what_routers_lack_is_said_by_its_name(is_left: bool, kind: type[WeftError]) -> None:
    world = World(FakeRouters(lacking=PartUnavailable("NATS is gone.", metadata={"part": "nats"})))
    world.view.apply(a_full_update())
    world.fill()

    def meanwhile() -> None:
        for _ in range(10 if is_left else 0):
            world.clock.advance(10)
            world.fill()
        world.view.gone([] if is_left else ["r-1"])

    world.routers.meanwhile = meanwhile
    with pytest.raises(kind, match="NATS is gone"):
        await world.headers()


async def test_a_client_that_leaves_leaves_no_wait_and_no_pick() -> None:
    world = World()
    world.view.apply(a_full_update())
    world.fill()
    asking = asyncio.ensure_future(world.headers())
    while not world.local.waiting_count:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert world.local.waiting_count == 0
    world.finish()
    assert (await world.headers())["x-weft-pick"] == "g-1/1"


async def test_while_reports_are_missing_full_is_no_filter() -> None:
    world = World()
    world.view.apply(a_full_update())
    assert [(await world.headers())["x-weft-pick"] for _ in range(4)][-1] == "g-1/4"
    world.clock.advance(2.1)
    assert (await world.headers())["x-weft-pick"] == "g-1/5"
    assert world.routers.acquired == []


async def test_those_who_waited_for_a_load_take_its_slots_and_no_more() -> None:
    world = World(FakeRouters(replicas=[a_replica(slot_count=2)], slots=[a_slot(), a_slot()]))
    world.view.apply(a_full_update(replicas=[]))
    picks = [h["x-weft-pick"] for h in await asyncio.gather(*(world.headers() for _ in range(4)))]
    assert picks == ["g-1/1", "g-1/2", "r-1/5", "r-1/5"]


async def test_where_nobody_knows_more_a_replica_is_tried_whatever_was_said_of_it() -> None:
    world = World(FakeRouters(error=PartUnavailable("not read yet", metadata={"part": "postgres"})))
    world.view.apply(a_full_update(nodes=[a_node(state="NODE_STATE_OFFLINE")]))
    assert (await world.headers())["x-weft-destination"] == "127.0.0.1:7"
    world.view.apply(an_update(2, nodes=[a_node()], replicas=[a_replica(problem="hung")]))
    assert (await world.headers())["x-weft-destination"] == "127.0.0.1:7"
    world.view.apply(an_update(3, replicas=[a_replica(state="REPLICA_STATE_UNLOADING")]))
    with pytest.raises(PartUnavailable):
        await world.headers()


async def test_a_router_that_knows_the_fleet_is_believed_about_a_replica_in_trouble() -> None:
    world = World(FakeRouters(error=PartUnavailable("gone again")))
    world.view.apply(a_full_update(replicas=[a_replica(problem="hung")]))
    with pytest.raises(PartUnavailable, match="gone again"):
        await world.headers()


async def test_a_model_that_a_router_which_is_cut_off_never_told_of_is_asked_for() -> None:
    world = World(FakeRouters(replicas=[a_replica(model="new")]))
    world.know_pair()
    world.view.stale = True
    world.routers.meanwhile = lambda: world.view.apply(an_update(9, models=[a_model("new")]))
    assert await world.headers("new")
    world.routers.error = ModelNotFound("unknown")
    with pytest.raises(ModelNotFound):
        await world.headers("never")
    assert [model for model, _ in world.routers.asked] == ["new", "never"]


async def test_a_wait_in_vain_for_what_hangs_is_no_business_of_the_queue() -> None:
    """The only replica says nothing while its agent goes on: it is not busy, it does not answer."""
    world = World()
    world.view.apply(a_full_update())
    world.fill()
    world.routers.error = WaitTooLong("'m' is busy")

    def pass_time() -> None:
        for _ in range(5):
            world.clock.advance(1)
            world.view.load(reports_pb2.LoadReport(node_id="n-1"))

    world.routers.meanwhile = pass_time
    with pytest.raises(PartUnavailable, match="No replica of 'm' has answered for 5 s"):
        await world.headers()


async def test_a_refusal_at_once_is_the_queues_own() -> None:
    world = World()
    world.view.apply(a_full_update())
    world.fill()
    world.clock.advance(0.5)
    world.routers.error = WaitTooLong("'m' is busy")
    with pytest.raises(WaitTooLong):
        await world.headers()
