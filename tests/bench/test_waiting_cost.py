"""What a report and a newcomer cost a router while a thousand requests wait, and how that grows with replicas."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from tests.bench.measure import fastest, row
from tests.router.builders import a_fleet, a_model, a_node, a_replica
from weft_common.clock import ManualClock
from weft_common.errors import WaitTooLong
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_router.fleet.entities import Changes
from weft_router.slots.core.fair_queue import Claim
from weft_router.slots.metrics import SlotMetrics
from weft_router.slots.rules import QueueRules
from weft_router.slots.slots import Slots

pytestmark = pytest.mark.bench

_WAITING = 1_000
_RULES = QueueRules(model_limit=2_000, total_limit=2_000, wait_seconds=60, silent_seconds=30)


def a_report(replica: str) -> reports_pb2.LoadReport:
    report = reports_pb2.LoadReport(node_id="n-one")
    entry = report.replicas.add(replica_id=replica, in_flight_count=2)
    entry.works.add(principal="p-1", finished_count=1, slot_ms=1000, generated_token_count=10)
    return report


def a_queue(loop: asyncio.AbstractEventLoop, replicas: int) -> Slots:
    """A thousand requests of a hundred principals in front of full replicas."""
    fleet = a_fleet(a_node("one"), a_model("m"), now=0)
    made = tuple(replace(a_replica(f"r-{n}"), slot_count=2, max_queue_count=2) for n in range(replicas))
    fleet.apply(Changes(sequence=5, replicas=made), now=0)
    metrics = SlotMetrics(CollectorRegistry())
    slots = Slots(fleet=fleet, clock=ManualClock(), router_id="r", rules=_RULES, metrics=metrics)
    for n in range(replicas):
        slots.report(a_report(f"r-{n}"))
    for n in range(_WAITING):
        loop.create_task(slots.acquire("m", Claim(f"p-{n % 100}"), 60))
    loop.run_until_complete(asyncio.sleep(0))
    assert slots.waiting() == {"m": _WAITING}
    return slots


def reporting(loop: asyncio.AbstractEventLoop, replicas: int) -> Callable[[], object]:
    slots, report = a_queue(loop, replicas), a_report("r-7")
    return lambda: slots.report(report)


def coming(loop: asyncio.AbstractEventLoop, replicas: int) -> Callable[[], object]:
    slots = a_queue(loop, replicas)

    async def come() -> None:
        with contextlib.suppress(WaitTooLong):
            await slots.acquire("m", Claim("new"), 0.0)

    return lambda: loop.run_until_complete(come())


def test_a_report_and_a_newcomer_cost_the_same_however_many_replicas_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loop = asyncio.new_event_loop()
    for name, work in {"a report": reporting, "a newcomer": coming}.items():
        small, large = fastest(work(loop, 100), work(loop, 2_000))
        with capsys.disabled():
            print("\n" + row(f"{name} with 1,000 waiting, 100 replicas", small, small), end="")
            print("\n" + row(f"{name} with 1,000 waiting, 2,000 replicas", large, small), end="")
        assert large / small < 2, name
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
