"""Routers stand in for each other, and a router's own refusal is passed on as it is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import weft_gateway.routers
from weft_common.clock import ManualClock
from weft_common.errors import DeadlineExceeded, NoCapacity, PartUnavailable, PartUnreachable, WaitTooLong
from weft_common.rpc import RpcServer, upb_unary
from weft_gateway.routers import Routers, open_routers
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

    async with router(route) as address, open_routers((*NOBODY, address), SECRET, ManualClock()) as routers:
        # The order differs from model to model; some ask the living one first, others last.
        answers = [await routers.route(f"m{n}", max_wait=1, suspects=[]) for n in range(6)]
    assert [answer.sequence for answer in answers] == [7] * 6


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weft_gateway.routers, "_PAUSES_SECONDS", (0.01, 0.0))


async def test_a_router_that_is_restarted_is_waited_for() -> None:
    clock = ManualClock()
    routers, dead, alive, model = pair(clock, PartUnreachable("refused"), 0)
    alive.error = PartUnreachable("refused")
    asked = asyncio.create_task(routers.route(model, max_wait=60, suspects=[]))
    while not alive.asked:
        await asyncio.sleep(0)
    dead.error = None
    assert (await asked).sequence == 7


async def test_no_router_at_all_is_said_by_its_name() -> None:
    async with open_routers(NOBODY, SECRET, ManualClock()) as routers:
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

    async with router(route) as address, open_routers((address,), SECRET, ManualClock()) as routers:
        with pytest.raises(type(refusal), match=refusal.message):
            await routers.route("m", max_wait=1, suspects=[])


class FakeRouter:
    """Fails with `error` after `seconds`, or answers; keeps how long it was asked to wait, and by when."""

    def __init__(self, clock: ManualClock, error: Exception | None = None, seconds: float = 0) -> None:
        self.clock, self.error, self.seconds = clock, error, seconds
        self.asked: list[tuple[float, float]] = []
        self.stale_accepted: list[bool] = []

    async def unary(self, path: str, request: pb.RouteRequest, kind: Any, *, timeout: float) -> Any:
        self.asked.append((request.max_wait.ToTimedelta().total_seconds(), timeout))
        self.stale_accepted.append(getattr(request, "stale_accepted", False))
        self.clock.advance(self.seconds)
        if self.error:
            raise self.error
        return pb.RouteResponse(sequence=7)


def pair(clock: ManualClock, error: Exception, seconds: float) -> tuple[Routers, FakeRouter, FakeRouter, str]:
    """A router that fails and one that answers, and a model whose first router is the one that fails."""
    dead, alive = FakeRouter(clock, error, seconds), FakeRouter(clock)
    routers = Routers([("dead", dead), ("alive", alive)], clock)  # type: ignore[list-item]  # fakes
    return routers, dead, alive, "m3"


@pytest.mark.parametrize("error", [PartUnreachable("refused"), DeadlineExceeded("silent")])
async def test_a_router_that_does_not_answer_costs_its_share_of_the_wait_and_comes_last_for_a_while(
    error: Exception,
) -> None:
    clock = ManualClock()
    routers, dead, alive, model = pair(clock, error, 20)
    await routers.route(model, max_wait=60, suspects=[])
    assert (dead.asked, alive.asked) == ([(60, 65)], [(40, 45)])
    clock.advance(4)
    await routers.route(model, max_wait=60, suspects=[])
    assert len(dead.asked) == 1
    clock.advance(2)
    await routers.route(model, max_wait=60, suspects=[])
    assert len(dead.asked) == 2


async def test_routers_that_are_all_shunned_are_tried_all_the_same() -> None:
    clock = ManualClock()
    routers, dead, alive, model = pair(clock, PartUnreachable("refused"), 0)
    alive.error = PartUnreachable("refused")
    with pytest.raises(PartUnavailable, match="No router"):
        await routers.route(model, max_wait=60, suspects=[])
    dead.error = None
    assert (await routers.route(model, max_wait=60, suspects=[])).sequence == 7


async def test_a_slot_is_asked_for_at_the_next_router_where_the_first_does_not_answer() -> None:
    clock = ManualClock()
    routers, dead, alive, model = pair(clock, PartUnreachable("refused"), 20)
    for _ in range(2):
        await routers.acquire(pb.AcquireSlotRequest(model=model), max_wait=60)
    assert [len(dead.asked), len(alive.asked)] == [1, 2]
    assert alive.asked[0] == (40, 45)


async def test_while_no_router_answers_none_is_asked_for_slots_until_one_is_heard_of() -> None:
    clock = ManualClock()
    routers, dead, alive, model = pair(clock, PartUnreachable("refused"), 0)
    alive.error = PartUnreachable("refused")
    for _ in range(3):
        assert await routers.acquire(pb.AcquireSlotRequest(model=model), max_wait=60) is None
    assert [len(dead.asked), len(alive.asked)] == [1, 1]
    assert routers.seconds_until_heard() == 5
    alive.error = None
    routers.hear(1)
    assert routers.seconds_until_heard() == 0
    assert await routers.acquire(pb.AcquireSlotRequest(model=model), max_wait=60) is not None


async def test_a_router_that_cannot_serve_slots_leaves_them_to_the_next_and_stays_in_use() -> None:
    clock = ManualClock()
    routers, behind, _, model = pair(clock, PartUnavailable("not read the fleet yet"), 0)
    for _ in range(2):
        assert await routers.acquire(pb.AcquireSlotRequest(model=model), max_wait=60) is not None
    assert len(behind.asked) == 2


async def test_a_routers_refusal_of_a_slot_is_its_own() -> None:
    clock = ManualClock()
    routers, _, alive, model = pair(clock, WaitTooLong("busy"), 0)
    with pytest.raises(WaitTooLong):
        await routers.acquire(pb.AcquireSlotRequest(model=model), max_wait=60)
    assert not alive.asked


CUT_OFF = PartUnavailable("PostgreSQL cannot be reached.", metadata={"part": "postgres"})


async def test_what_one_router_lacks_another_one_may_have() -> None:
    routers, behind, alive, model = pair(ManualClock(), CUT_OFF, 20)
    assert (await routers.route(model, max_wait=60, suspects=[])).sequence == 7
    assert (len(behind.asked), alive.asked) == (1, [(40, 45)])


async def test_where_every_router_lacks_something_the_first_says_what() -> None:
    routers, _, second, model = pair(ManualClock(), CUT_OFF, 0)
    second.error = PartUnavailable("NATS cannot be reached.", metadata={"part": "nats"})
    with pytest.raises(PartUnavailable, match="PostgreSQL"):
        await routers.route(model, max_wait=60, suspects=[])
    second.error = PartUnreachable("refused")
    with pytest.raises(PartUnavailable, match="PostgreSQL"):
        await routers.route(model, max_wait=60, suspects=[])


async def test_what_a_router_says_of_a_model_is_not_asked_again_elsewhere() -> None:
    routers, _, alive, model = pair(ManualClock(), PartUnavailable("It is gone again."), 0)
    with pytest.raises(PartUnavailable, match="gone"):
        await routers.route(model, max_wait=60, suspects=[])
    assert not alive.asked


async def test_slots_as_a_router_knew_them_are_taken_where_none_knows_better() -> None:
    routers, first, second, model = pair(ManualClock(), CUT_OFF, 0)
    second.error = CUT_OFF
    request = pb.AcquireSlotRequest(model=model)
    assert await routers.acquire(request, max_wait=60) is None
    assert (first.stale_accepted, second.stale_accepted) == ([False, True], [False, True])
    assert routers.missing(model).metadata == {"part": "postgres"}
    second.error = None
    assert await routers.acquire(request, max_wait=60) is not None
    assert second.stale_accepted == [False, True, False]


async def test_what_is_missing_for_one_model_is_not_told_of_another() -> None:
    routers, first, second, model = pair(ManualClock(), PartUnavailable("It is gone again."), 0)
    second.error = PartUnreachable("refused")
    assert await routers.acquire(pb.AcquireSlotRequest(model=model), max_wait=60) is None
    assert "gone" in routers.missing(model).message
    assert "No router can be reached" in routers.missing("other").message
    first.error = None
    await routers.route(model, max_wait=60, suspects=[])
    assert "No router can be reached" in routers.missing(model).message


class HangingRouter(FakeRouter):
    """Says nothing until it is let go."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.let_go = asyncio.Event()

    async def unary(self, path: str, request: pb.RouteRequest, kind: Any, *, timeout: float) -> Any:
        self.asked.append((0, timeout))
        await self.let_go.wait()
        if self.error:
            raise self.error
        return pb.AcquireSlotResponse()


async def test_a_router_that_did_not_answer_is_tried_by_one_request_for_all() -> None:
    clock = ManualClock()
    router = HangingRouter(clock)
    router.error = PartUnreachable("no answer")
    routers = Routers([("r", router)], clock)  # type: ignore[list-item]  # a fake
    request = pb.AcquireSlotRequest(model="m")
    router.let_go.set()
    assert await routers.acquire(request, max_wait=60) is None
    router.let_go.clear()
    clock.advance(6)
    on_trial = asyncio.create_task(routers.acquire(request, max_wait=60))
    while len(router.asked) < 2:
        await asyncio.sleep(0)
    assert await routers.acquire(request, max_wait=60) is None
    assert (len(router.asked), routers.seconds_until_heard()) == (2, 5)
    router.error = None
    router.let_go.set()
    assert await on_trial is not None
    assert await routers.acquire(request, max_wait=60) is not None
