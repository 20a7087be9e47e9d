"""Admission: the view first, a router where the view has no answer, and headers that name what was chosen."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.builders import a_full_update, a_model, a_node, a_policy, a_replica, an_update
from weft_common.clock import ManualClock
from weft_common.errors import ModelNotFound, NoCapacity, PartUnavailable, WeftError
from weft_common.ticket import replica_name, verify
from weft_gateway.admission import Admission
from weft_gateway.fleet_view import FleetView
from weft_gateway.settings import GatewaySettings
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.pb.weft.types.v1 import replica_pb2

SECRET = "ab" * 32
FIRST = replica_name("m", 0, "rev1", "r-1")
SECOND = replica_name("m", 0, "rev1", "r-2")


@dataclass
class FakeRouters:
    """Answers with `answers` one by one, then with `replicas`, or refuses with `error`; keeps what it was asked."""

    answers: list[pb.RouteResponse] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    replicas: Sequence[replica_pb2.Replica] = ()
    error: WeftError | None = None
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    async def route(self, model: str, *, max_wait: float, suspects: Sequence[str]) -> pb.RouteResponse:
        self.asked.append((model, list(suspects)))
        self.meanwhile()
        if self.error:
            raise self.error
        return self.answers.pop(0) if self.answers else pb.RouteResponse(replicas=self.replicas, sequence=9)


class World:
    def __init__(self, routers: FakeRouters | None = None, **fields: Any) -> None:
        self.clock = ManualClock(now=1_000)
        self.view = FleetView(self.clock, "g-1")
        self.view.watched = True
        self.routers = routers or FakeRouters()
        settings = GatewaySettings(
            listen="127.0.0.1:0",
            routers=("127.0.0.1:1",),
            nats_url="nats://x",
            mesh_secret=SECRET,
            keys_file=Path("/nowhere"),
            state_dir=Path("/nowhere"),
            **fields,
        )
        self.admission = Admission(
            view=self.view,
            routers=self.routers,  # type: ignore[arg-type]  # a fake
            settings=settings,
            clock=self.clock,
        )

    async def headers(self, model: str = "m", prompt: bytes = b"") -> dict[str, str]:
        return dict((await self.admission.admit(model, "alice", "req-1", prompt)).headers)

    def know_pair(self, **fields: Any) -> None:
        """Two replicas, at ports 7 and 8."""
        second = a_replica("r-2", node_id="n-2", address="127.0.0.1:8")
        nodes = [a_node(), a_node("n-2")]
        self.view.apply(
            a_full_update(nodes=nodes, replicas=[a_replica(), second], heard=("n-1", "n-2"), **fields)
        )

    async def served(self, prompt: bytes, *, done: bool = True) -> str:
        """The last digit of the port where a request goes; it is over at once, unless `done` is false."""
        headers = await self.headers(prompt=prompt)
        if done:
            self.finish()
        return headers["x-weft-destination"][-1]

    def finish(self) -> None:
        """Let workers report that they have seen everything and have nothing to do."""
        self.clock.advance(0.01)
        report = reports_pb2.LoadReport(node_id="n-1")
        for target in self.view.targets("m"):
            entry = report.replicas.add(replica_id=target.replica_id)
            entry.picks.add(gateway_id="g-1", contiguous=10_000)
        self.view.load(report)


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
    world.know_pair()
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


async def test_with_a_free_slot_elsewhere_a_full_replica_waits_for_nobody() -> None:
    world = World()
    small = a_replica("r-1", slot_count=1)
    large = a_replica("r-2", slot_count=8, node_id="n-2", address="127.0.0.1:8")
    world.view.apply(
        a_full_update(nodes=[a_node(), a_node("n-2")], replicas=[small, large], heard=("n-1", "n-2"))
    )
    went = [await world.served(b"", done=False) for _ in range(9)]
    assert (went.count("7"), went.count("8")) == (1, 8)
