"""Which models somebody waits for, as routers tell it."""

from weft_common.clock import ManualClock
from weft_common.waiting_view import WaitingView
from weft_proto.pb.weft.bus.v1 import reports_pb2


async def told(view: WaitingView, router: str, **counts: int) -> None:
    report = reports_pb2.WaitingReport(router_id=router)
    for model, count in counts.items():
        report.queues.add(model=model, waiting_count=count)
    await view.read(report.SerializeToString())


async def test_models_are_waited_for_at_any_router_until_it_says_otherwise() -> None:
    view = WaitingView(ManualClock())
    await told(view, "r-1", a=1, b=2)
    await told(view, "r-2", b=1, c=0)
    assert view.models() == {"a", "b"}
    assert [view.is_waited_for(model) for model in "abc"] == [True, True, False]
    await told(view, "r-1")
    assert view.models() == {"b"}


async def test_a_silent_router_has_nobody_waiting_and_noise_is_passed_over() -> None:
    clock = ManualClock()
    view = WaitingView(clock)
    await told(view, "r-1", a=1)
    await view.read(b"\xff\xff")
    clock.advance(3)
    assert view.models() == {"a"}
    clock.advance(0.1)
    assert (view.models(), view.is_waited_for("a")) == (frozenset(), False)
