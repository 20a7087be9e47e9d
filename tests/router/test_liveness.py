"""What workers tell everybody each second, as a router hears it."""

import asyncio
from math import inf

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from tests.router.fakes import FakeBus
from weft_common.background import background
from weft_common.clock import ManualClock
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.memory import FullDevice
from weft_router.liveness import follow_loads


async def heard(fleet: Fleet, clock: ManualClock, *payloads: bytes) -> None:
    bus = FakeBus()
    async with background(follow_loads(bus, fleet, clock, lambda: None)):  # type: ignore[arg-type]  # a fake bus
        while not bus.handlers:
            await asyncio.sleep(0)
        for payload in payloads:
            await bus.handlers["weft.load.*"](payload)


def a_report(node_id: str, replica_id: str, **counts: int) -> bytes:
    entry = reports_pb2.ReplicaLoad(replica_id=replica_id, **counts)
    return reports_pb2.LoadReport(node_id=node_id, replicas=[entry]).SerializeToString()


async def test_a_report_says_that_its_node_lives_and_how_busy_its_replicas_are() -> None:
    fleet, clock = a_fleet(a_node(), a_model(), a_replica()), ManualClock(now=50)
    await heard(fleet, clock, a_report("n-one", "r-1", in_flight_count=2, queued_count=1))
    assert fleet.heard["n-one"] == 50
    (replica,) = fleet.snapshot().by_id["n-one"].replicas
    assert (replica.in_flight_count, replica.last_used) == (3, 50)


async def test_reports_of_strangers_and_nonsense_change_nothing() -> None:
    fleet, clock = a_fleet(a_node()), ManualClock()
    await heard(fleet, clock, a_report("n-other", "r-1", in_flight_count=2), b"\xff\xff")
    assert "n-other" not in fleet.heard


async def test_a_report_tells_wishes_uses_and_that_memory_is_short() -> None:
    fleet, clock = a_fleet(a_node(), a_model(), a_replica()), ManualClock(now=50)
    load = reports_pb2.ReplicaLoad(replica_id="r-1", started_count=4)
    load.keep_alive.FromSeconds(-1)
    report = reports_pb2.LoadReport(node_id="n-one", replicas=[load])
    report.full_devices.add(device_id="cpu", use=0.96, excess_bytes=7)
    await heard(fleet, clock, report.SerializeToString())
    (replica,) = fleet.snapshot().by_id["n-one"].replicas
    full = {"n-one": (FullDevice("cpu", 0.96, 7),)}
    assert (replica.keep_alive_seconds, fleet.snapshot().full_devices) == (inf, full)
    clock.advance(1)
    await heard(fleet, clock, a_report("n-one", "r-1", started_count=5))
    (replica,) = fleet.snapshot().by_id["n-one"].replicas
    assert (replica.keep_alive_seconds, replica.last_used) == (None, 51)
    assert fleet.snapshot().full_devices == {}
