"""Admission: the view first, a router where the view has no answer, and headers that name what was chosen."""

import asyncio

import pytest

from tests.gateway.admission_world import FIRST, SECOND, SECRET, FakeRouters, World
from tests.gateway.builders import a_full_update, a_model, a_node, a_policy, a_replica, an_update
from weft_common.errors import InvalidRequest, ModelNotFound, NoCapacity, PartUnavailable
from weft_common.purposes import Ability
from weft_common.ticket import verify
from weft_gateway.admission import Admitted
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.pb.weft.types.v1 import model_pb2


async def test_a_warm_request_asks_nobody_and_has_no_retry_without_a_second_replica() -> None:
    world = World()
    world.view.apply(a_full_update())
    headers = await world.headers()
    assert world.routers.asked == []
    assert headers["x-weft-destination"] == "127.0.0.1:7"
    assert headers["x-envoy-max-retries"] == "0"
    assert "x-weft-fallback" not in headers
    assert (headers["x-weft-principal"], headers["x-weft-pick"]) == ("alice", "g-1/1")
    ticket = verify(headers["x-weft-ticket"], mesh_secret=SECRET, replica=FIRST, now=1_000)
    assert (ticket.principal, ticket.request_id, ticket.replicas) == ("alice", "req-1", (FIRST,))


async def test_with_a_second_replica_there_is_a_fallback_and_one_ticket_for_both() -> None:
    world = World()
    world.know_pair()
    headers = await world.headers()
    assert {headers["x-weft-destination"], headers["x-weft-fallback"]} == {"127.0.0.1:7", "127.0.0.1:8"}
    assert "x-envoy-max-retries" not in headers
    served = {"127.0.0.1:7 n-1 m#0@rev1", "127.0.0.1:8 n-2 m#0@rev1"}
    assert set(headers["x-weft-served"].split(",")) == served
    for name in (FIRST, SECOND):
        verify(headers["x-weft-ticket"], mesh_secret=SECRET, replica=name, now=1_000)


async def test_a_name_that_no_header_can_hold_is_told_with_question_marks() -> None:
    world = World()
    world.view.apply(a_full_update(nodes=[a_node(name="Käthe, oben")]))
    assert (await world.headers())["x-weft-served"] == "127.0.0.1:7 K?the??oben m#0@rev1"


async def test_requests_spread_over_replicas_and_picks_are_numbered_for_each() -> None:
    world = World()
    world.know_pair(slots=16)
    picks = [await world.headers() for _ in range(20)]
    by_replica = [
        [p["x-weft-pick"] for p in picks if p["x-weft-destination"].endswith(end)] for end in ("7", "8")
    ]
    assert by_replica == [[f"g-1/{i}" for i in range(1, 11)]] * 2


async def test_a_cold_model_is_routed_and_then_picked() -> None:
    world = World(FakeRouters(replicas=[a_replica()]))
    world.view.apply(a_full_update(replicas=[]))
    assert (await world.headers())["x-weft-destination"] == "127.0.0.1:7"
    assert world.routers.asked == [("m", [])]


async def test_what_is_not_loaded_is_not_loaded_to_be_let_go() -> None:
    world = World()
    world.view.apply(a_full_update(replicas=[]))
    assert await world.admitted(lets_go=True) == Admitted({}, is_needless=True)
    assert world.routers.asked == []
    world.view.apply(a_full_update(2))
    assert (await world.admitted(lets_go=True)).headers


async def test_a_router_that_knows_more_is_believed_once_the_watch_has_caught_up() -> None:
    new = a_replica(revision="rev2")
    world = World(FakeRouters(answers=[pb.RouteResponse(replicas=[new], sequence=3)]))
    world.view.apply(a_full_update(replicas=[]))
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(world.headers())
        while not world.routers.asked:
            await asyncio.sleep(0)
        world.view.apply(an_update(2, models=[a_model(revision="rev2")]))
        world.view.apply(an_update(3, replicas=[new]))
    assert asking.result()["x-weft-destination"] == "127.0.0.1:7"
    assert len(world.routers.asked) == 1


async def test_a_router_that_is_behind_is_asked_again_until_it_is_not() -> None:
    old, new = a_replica("r-0", address="127.0.0.1:6"), a_replica()
    behind = pb.RouteResponse(replicas=[old], sequence=4)
    level = pb.RouteResponse(replicas=[new], sequence=5)
    world = World(FakeRouters(answers=[behind, behind, level]))
    world.view.apply(a_full_update(5, replicas=[]))
    assert (await world.headers())["x-weft-destination"] == "127.0.0.1:7"
    assert len(world.routers.asked) == 3


async def test_what_never_becomes_level_is_refused_when_the_patience_ends() -> None:
    world = World(FakeRouters(replicas=[a_replica(revision="rev0")]))
    world.routers.meanwhile = lambda: world.clock.advance(20)
    world.view.apply(a_full_update(9, replicas=[]))
    with pytest.raises(PartUnavailable, match="gone again"):
        await world.headers()
    assert len(world.routers.asked) == 3


async def test_an_unknown_model_asks_nobody() -> None:
    world = World()
    world.view.apply(a_full_update())
    with pytest.raises(ModelNotFound, match="gpt-5"):
        await world.headers("gpt-5")
    assert world.routers.asked == []


async def test_a_model_is_found_by_its_other_name_where_nothing_has_the_first() -> None:
    world = World()
    world.view.apply(a_full_update())
    admitted = await world.admitted("m:latest", alias="m")
    assert admitted.headers == (await world.admitted("m")).headers | {
        name: admitted.headers[name] for name in ("x-weft-pick",)
    }
    with pytest.raises(ModelNotFound, match="'gpt-5:latest'"):
        await world.admitted("gpt-5:latest", alias="gpt-5")


async def test_a_model_that_is_for_something_else_is_refused_and_not_loaded() -> None:
    world = World()
    model = a_model("e", purpose=model_pb2.MODEL_PURPOSE_EMBEDDING)
    world.view.apply(a_full_update(replicas=[], models=[a_model(), model]))
    for name, ability in (("m", Ability.EMBED), ("m", Ability.RERANK), ("e", Ability.CHAT)):
        with pytest.raises(InvalidRequest, match=rf"The model '{name}' .* and cannot"):
            await world.admitted(name, ability=ability)
    assert world.routers.asked == []


async def test_a_gateway_that_knows_no_fleet_says_so() -> None:
    with pytest.raises(PartUnavailable, match="does not know the fleet"):
        await World().headers()


async def test_a_routers_refusal_reaches_the_caller() -> None:
    world = World(FakeRouters(error=NoCapacity("No node can take 'm'")))
    world.view.apply(a_full_update(replicas=[]))
    with pytest.raises(NoCapacity):
        await world.headers()


async def test_a_silent_replica_is_looked_at_first_and_used_where_nobody_can_look() -> None:
    world = World(FakeRouters(replicas=[a_replica()]))
    world.view.apply(a_full_update())
    world.clock.advance(31)
    await world.headers()
    assert world.routers.asked == [("m", ["r-1"])]
    world.routers.error = PartUnavailable("No router can be reached")
    assert (await world.headers())["x-weft-destination"] == "127.0.0.1:7"


async def test_where_there_is_no_room_for_another_one_what_no_router_gets_through_to_is_tried() -> None:
    world = World(FakeRouters(error=NoCapacity("full")))
    world.view.apply(a_full_update(replicas=[a_replica(unreachable="no way")]))
    assert (await world.headers())["x-weft-destination"] == "127.0.0.1:7"
    world.clock.advance(31)
    with pytest.raises(NoCapacity):
        await world.headers()


async def test_a_refusal_that_is_no_outage_is_no_reason_to_try_a_silent_replica() -> None:
    world = World(FakeRouters(error=NoCapacity("full")))
    world.view.apply(a_full_update())
    world.clock.advance(31)
    with pytest.raises(NoCapacity):
        await world.headers()


LONG = b"You are a helpful assistant. " * 40
OTHER = b"You are a pirate. " * 60


async def test_a_conversation_goes_on_where_it_began() -> None:
    world = World()
    world.know_pair()
    first = await world.served(LONG)
    other = await world.served(OTHER)
    assert {first, other} == {"7", "8"}
    for turn in range(5):
        assert await world.served(LONG + b"more " * 40 * turn) == first
        assert await world.served(OTHER + b"more " * 40 * turn) == other


async def test_a_warm_replica_that_has_more_to_do_is_passed_over() -> None:
    world = World()
    world.know_pair()
    went = [await world.served(LONG, done=False) for _ in range(8)]
    assert sorted(went) == ["7"] * 4 + ["8"] * 4


async def test_a_warm_replica_without_a_free_slot_is_passed_over() -> None:
    world = World()
    world.know_pair()
    first = await world.served(LONG)
    (warm,) = [t for t in world.view.targets("m") if t.replica.address.endswith(first)]
    for target in world.view.targets("m"):
        for _ in range(4 if target is warm else 3):
            target.load.pick(world.clock.monotonic())
    assert await world.served(LONG) != first


async def test_short_prompts_and_round_robin_take_turns() -> None:
    world = World()
    world.know_pair()
    assert [await world.served(b"short") for _ in range(4)] in (["7", "8"] * 2, ["8", "7"] * 2)
    world = World(route_policy="round_robin")
    world.know_pair()
    assert [await world.served(LONG) for _ in range(4)] in (["7", "8"] * 2, ["8", "7"] * 2)


@pytest.mark.parametrize(
    ("default", "said"), [("prefix_cache", "round_robin"), ("round_robin", "prefix_cache")]
)
async def test_a_models_policy_goes_before_the_setting(default: str, said: str) -> None:
    world = World(route_policy=default)
    world.know_pair(policies=[a_policy(route_policy=said)])
    went = [await world.served(LONG) for _ in range(4)]
    assert len(set(went)) == (1 if said == "prefix_cache" else 2)


async def test_a_models_policy_sets_the_thresholds() -> None:
    world = World()
    world.know_pair(policies=[a_policy(balance_rel_threshold=9, balance_abs_threshold=3)])
    went = [await world.served(LONG, done=False) for _ in range(2)]
    assert len(set(went)) == 1
    world = World()
    world.know_pair(policies=[a_policy(min_prefix_match=1)])
    first = await world.served(LONG)
    assert await world.served(LONG + b"x" * 300) != first
