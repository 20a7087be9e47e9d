"""What the monitor does about replicas that are gone or hung, and what it leaves alone."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.router.builders import a_model, a_node, a_replica
from tests.router.fake_leases import FakeLeases
from tests.router.fake_store import FakeStore
from tests.router.fakes import CheckedJournal, FakeBus
from weft_common.background import background
from weft_common.clock import ManualClock
from weft_common.errors import PartUnavailable, WeftError
from weft_router.fleet.checkups import CheckupRules, Finding
from weft_router.fleet.entities import NodeState, Replica
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.lease import Fence
from weft_router.health_monitor import HealthMonitor
from weft_router.leases import Lease
from weft_router.sync import FleetSync

HUNG = "its process is stopped"


@dataclass
class FakeProbe:
    """Finds the same for everybody, or fails; keeps who was asked, and whether a remembered answer would have done."""

    finding: Finding = Finding.SERVES
    error: WeftError | None = None
    asked: list[tuple[str, bool]] = field(default_factory=list)

    async def ask(self, replica: Replica, *, anew: bool = False) -> Finding:
        self.asked.append((replica.id, anew))
        if self.error:
            raise self.error
        return self.finding


@dataclass
class FakeUnloads:
    leases: FakeLeases
    done: list[tuple[str, str]] = field(default_factory=list)
    error: Exception | None = None

    async def unload(
        self, replicas: list[Replica], *, force: bool, fence: Fence | None = None
    ) -> list[Replica]:
        assert force
        self.leases.require(fence)
        self._do("stopped", replicas[0])
        return replicas

    async def give_up(self, replica: Replica, *, fence: Fence | None = None) -> None:
        self.leases.require(fence)
        self._do("given up", replica)

    def _do(self, what: str, replica: Replica) -> None:
        if self.error:
            raise self.error
        self.done.append((what, replica.id))


class World:
    def __init__(self) -> None:
        self.clock, self.store, self.fleet = ManualClock(), FakeStore(), Fleet()
        self.sync = FleetSync(self.store, FakeBus(), self.fleet)  # type: ignore[arg-type]  # a fake bus
        self.store.clock = self.clock.monotonic
        self.journal = CheckedJournal(self.clock)
        self.probe, self.unloads = FakeProbe(), FakeUnloads(self.store.leases)
        self.lease = Lease(
            self.store.leases,
            "health",
            holder="here",
            clock=self.clock,
            ttl=timedelta(seconds=4),
            journal=self.journal,
        )
        self.monitor = HealthMonitor(
            fleet=self.fleet,
            lease=self.lease,
            sync=self.sync,
            probe=self.probe,
            unloads=self.unloads,
            store=self.store,
            clock=self.clock,
            rules=CheckupRules(),
            journal=self.journal,
        )

    async def turns(self, seconds: int, fence: Fence | None = None) -> None:
        for _ in range(seconds):
            for replica in self.monitor.due():
                await self.monitor.check(replica, fence)
            self.clock.advance(1)


async def a_world(*replicas: Replica) -> World:
    world = World()
    await world.store.put_node(a_node())
    await world.store.put_models([a_model()], [])
    for replica in replicas or (a_replica(),):
        await world.store.put_replica(replica)
    await world.sync.refresh()
    return world


async def test_what_refuses_three_times_is_given_up_and_its_node_stays_well() -> None:
    world = await a_world()
    world.probe.finding = Finding.DEAD
    await world.turns(10)
    assert world.unloads.done == []
    await world.turns(1)
    assert world.unloads.done == [("given up", "r-1")]
    assert world.fleet.nodes["n-one"].state is NodeState.HEALTHY


async def test_what_serves_or_is_busy_is_left_alone() -> None:
    world = await a_world()
    await world.turns(60)
    world.probe.finding = Finding.BUSY
    await world.turns(600)
    assert world.unloads.done == []


async def test_what_hangs_is_asked_anew_and_stopped_by_force() -> None:
    world = await a_world(a_replica(problem=HUNG))
    world.probe.finding = Finding.BUSY
    await world.turns(3)
    assert world.probe.asked == [("r-1", True)] * 3
    assert world.unloads.done == [("stopped", "r-1")]
    (event,) = world.journal.waiting
    assert (event.what, event.why, event.node, event.replica_id) == ("replica_replaced", HUNG, "one", "r-1")


async def test_a_check_that_could_not_be_made_says_nothing() -> None:
    world = await a_world()
    world.probe.error = PartUnavailable("odd")
    await world.turns(60)
    assert world.unloads.done == []


@pytest.mark.parametrize(
    ("error", "event"),
    [(PartUnavailable("no database"), "replica_not_removed"), (KeyError("a bug"), "check_broke")],
)
async def test_what_cannot_be_done_is_done_later_and_ends_nothing(
    error: Exception, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = await a_world()
    world.probe.finding, world.unloads.error = Finding.DEAD, error
    await world.turns(11)
    assert [r.message for r in caplog.records if r.levelname != "INFO"][-1] == event
    world.unloads.error = None
    await world.turns(6)
    assert world.unloads.done == [("given up", "r-1")]


async def test_only_the_router_that_leads_asks_anybody() -> None:
    world = await a_world()
    async with asyncio.timeout(5), background(world.monitor.run()):
        await asyncio.sleep(0.05)
        assert world.probe.asked == []
    await world.lease.renew()
    async with asyncio.timeout(5), background(world.monitor.run()):
        while not world.probe.asked:
            await asyncio.sleep(0.01)


async def test_a_leader_of_yesterday_takes_nothing_away(caplog: pytest.LogCaptureFixture) -> None:
    world = await a_world(a_replica(problem=HUNG))
    await world.lease.renew()
    fence = world.monitor.term()
    world.clock.advance(5)
    await world.store.leases.hold("health", "elsewhere", ttl=timedelta(seconds=4))
    assert world.monitor.term() is None
    world.probe.finding = Finding.BUSY
    await world.turns(3, fence)
    assert world.unloads.done == []
    assert [r.message for r in caplog.records if r.levelname != "INFO"][-1] == "effect_refused"


async def test_a_leader_that_cannot_connect_takes_nothing_away_and_leaves_the_lease_to_another_one() -> None:
    world = await a_world()
    await world.lease.renew()
    world.probe.finding = Finding.UNABLE
    for seconds in (1, 30, 1):
        await world.turns(seconds, world.monitor.term())
        await world.lease.renew()
    assert world.unloads.done == []
    assert [e.what for e in world.journal.waiting] == ["leader_elected", "leader_stepped_down"]
    row = await world.store.leases.hold("health", "elsewhere", ttl=timedelta(seconds=4))
    assert row.holder == "elsewhere"


async def test_what_nobody_gets_through_to_is_passed_over_until_somebody_does() -> None:
    world = await a_world()
    world.probe.finding = Finding.UNREACHED

    async def seconds(count: int) -> None:
        for _ in range(count):
            world.fleet.report("n-one", {"r-1": 0}, world.clock.monotonic())
            await world.turns(1)

    await seconds(10)
    assert not world.fleet.replicas["r-1"].unreachable
    await seconds(2)
    assert world.fleet.replicas["r-1"].unreachable
    assert world.fleet.ready_replicas("m") == []
    await seconds(20)
    world.probe.finding = Finding.SERVES
    await seconds(6)
    assert [r.id for r in world.fleet.ready_replicas("m")] == ["r-1"]
    assert world.unloads.done == []
    assert [e.what for e in world.journal.waiting] == ["replica_unreachable", "replica_reached"]
    assert ("r-1", True) in world.probe.asked
