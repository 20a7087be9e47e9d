"""Admission: the view first, a router where the view has no answer, and headers that name what was chosen."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.gateway.builders import a_full_update, a_model, a_node, a_policy, a_replica, an_update
from weft_common.clock import ManualClock
from weft_common.errors import ModelNotFound, NoCapacity, PartUnavailable, WaitTooLong, WeftError
from weft_common.ticket import replica_name, verify
from weft_common.waiting_view import WaitingView
from weft_gateway.admission import Admission, Admitted
from weft_gateway.fleet_view import FleetView, Target
from weft_gateway.keys import Principal
from weft_gateway.local_queue import LocalQueue
from weft_gateway.metrics import AdmissionMetrics
from weft_gateway.queueing import Queueing
from weft_gateway.settings import GatewaySettings
from weft_gateway.slot import Ask
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
    hold: asyncio.Event | None = None
    slots: list[pb.AcquireSlotResponse] = field(default_factory=list)
    lacking: PartUnavailable = field(default_factory=lambda: PartUnavailable("No router can be reached"))
    acquired: list[tuple[str, str, float, int]] = field(default_factory=list)

    async def route(self, model: str, *, max_wait: float, suspects: Sequence[str]) -> pb.RouteResponse:
        self.asked.append((model, list(suspects)))
        self.meanwhile()
        if self.error:
            raise self.error
        return self.answers.pop(0) if self.answers else pb.RouteResponse(replicas=self.replicas, sequence=9)

    async def acquire(
        self, request: pb.AcquireSlotRequest, *, max_wait: float
    ) -> pb.AcquireSlotResponse | None:
        self.acquired.append((request.model, request.principal, request.weight, request.priority))
        self.meanwhile()
        if self.hold:
            await self.hold.wait()
        if self.error:
            raise self.error
        return self.slots.pop(0) if self.slots else None

    def seconds_until_heard(self) -> float:
        return 0.001

    def missing(self, model: str) -> PartUnavailable:
        return self.lacking


ALICE = Principal("alice", 2.0, 1)


class World:
    def __init__(self, routers: FakeRouters | None = None, **fields: Any) -> None:
        self.clock = ManualClock(now=1_000)
        self.view = FleetView(self.clock, "g-1")
        self.view.watched = True
        self.routers = routers or FakeRouters()
        self.waiting = WaitingView(self.clock)
        self.local = LocalQueue(self.view, self.clock, limit=2)
        self.registry = CollectorRegistry()
        metrics = AdmissionMetrics(self.registry)
        settings = GatewaySettings(
            listen="127.0.0.1:0",
            routers=("127.0.0.1:1",),
            nats_url="nats://x",
            mesh_secret=SECRET,
            keys_file=Path("/nowhere"),
            state_dir=Path("/nowhere"),
            **fields,
        )
        queueing = Queueing(
            view=self.view,
            waiting=self.waiting,
            routers=self.routers,  # type: ignore[arg-type]  # a fake
            local=self.local,
            clock=self.clock,
            wait=settings.queue_wait,
            metrics=metrics,
        )
        self.admission = Admission(
            view=self.view,
            routers=self.routers,  # type: ignore[arg-type]  # a fake
            queueing=queueing,
            settings=settings,
            clock=self.clock,
            metrics=metrics,
        )

    async def admitted(self, model: str = "m", prompt: bytes = b"", **fields: Any) -> Admitted:
        return await self.admission.admit(Ask(model, ALICE, "req-1", prompt, **fields))

    async def headers(self, model: str = "m", prompt: bytes = b"") -> dict[str, str]:
        return dict((await self.admitted(model, prompt)).headers)

    def fill(self) -> None:
        """Let every replica report that its slots are taken."""
        self.report(lambda target: target.slot_count)

    def told(self, *models: str) -> None:
        """A router tells that somebody waits for models there."""
        report = reports_pb2.WaitingReport(router_id="r-1")
        for model in models:
            report.queues.add(model=model, waiting_count=1)
        self.waiting.take(report)

    def admitted_by(self, who: str) -> float | None:
        return self.registry.get_sample_value("weft_admitted_total", {"by": who})

    def know_pair(self, slots: int = 4, **fields: Any) -> None:
        """Two replicas, at ports 7 and 8."""
        first = a_replica(slot_count=slots)
        second = a_replica("r-2", node_id="n-2", address="127.0.0.1:8", slot_count=slots)
        nodes = [a_node(), a_node("n-2")]
        self.view.apply(a_full_update(nodes=nodes, replicas=[first, second], heard=("n-1", "n-2"), **fields))

    async def served(self, prompt: bytes, *, done: bool = True) -> str:
        """The last digit of the port where a request goes; it is over at once, unless `done` is false."""
        headers = await self.headers(prompt=prompt)
        if done:
            self.finish()
        return headers["x-weft-destination"][-1]

    def finish(self) -> None:
        """Let workers report that they have seen everything and have nothing to do."""
        self.clock.advance(0.01)
        self.report(lambda target: 0)

    def report(self, busy: Callable[[Target], int]) -> None:
        report = reports_pb2.LoadReport(node_id="n-1")
        for target in self.view.targets("m"):
            entry = report.replicas.add(replica_id=target.replica_id, in_flight_count=busy(target))
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
        world.clock.advance(0 if not is_left else 100)
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
