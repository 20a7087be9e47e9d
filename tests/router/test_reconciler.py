"""The reconciler: policies come true, one step for a model at a time, and what cannot be is left alone for a while."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from tests.router.builders import GIB, a_fleet, a_model, a_node, a_replica
from tests.router.fake_leases import FakeLeases
from tests.router.fake_store import FakeStore
from tests.router.fakes import CheckedJournal, FakeBus
from weft_common.background import background
from weft_common.clock import ManualClock
from weft_common.errors import LoadFailed, ModelLoading, NoCapacity, PartUnavailable, WeftError
from weft_router.fleet.entities import Changes, Model, Node, Replica, ReplicaState
from weft_router.fleet.lease import Fence, LeaseRow
from weft_router.fleet.load_job import LoadJob
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow, ScalingRules, Shrink, Step
from weft_router.fleet.views import Snapshot
from weft_router.leases import Lease
from weft_router.placement.decide import decide
from weft_router.placement.decision import Decision
from weft_router.placement.rules import EvictionRules
from weft_router.reconciler import Reconciler
from weft_router.silence import Silence
from weft_router.sync import FleetSync

TWO = (a_node("one"), a_node("two"))


@dataclass
class FakeLoads:
    """Notes what was asked for, and fails with `error`; a former leader is refused."""

    leases: FakeLeases
    error: Exception | None = None
    asked: list[tuple[str, str | None, bool]] = field(default_factory=list)

    async def add(
        self,
        model: Model,
        node: Node | None,
        max_wait: float,
        *,
        may_evict: bool = True,
        fence: Fence | None = None,
    ) -> Replica:
        self.leases.require(fence)
        self.asked.append((model.name, node.name if node else None, may_evict))
        if self.error:
            raise self.error
        return a_replica()


@dataclass
class FakeUnloads:
    leases: FakeLeases
    unloaded: list[str] = field(default_factory=list)

    async def unload(
        self, replicas: list[Replica], *, force: bool, fence: Fence | None = None
    ) -> list[Replica]:
        assert not force
        self.leases.require(fence)
        self.unloaded += [r.id for r in replicas]
        return replicas


@dataclass
class FakeWarmth:
    """Asks for these steps."""

    asks: tuple[Step, ...] = ()
    says: str = ""

    def wanted(self) -> tuple[str, ...]:
        return tuple(s.model for s in self.asks if isinstance(s, Grow))

    def why(self, model: str) -> str:
        return self.says

    def steps(self, snapshot: Snapshot, now: float) -> Iterator[Step]:
        yield from self.asks


class World:
    def __init__(self, *things: Node | Replica | Model | Policy, warmth: FakeWarmth | None = None) -> None:
        self.clock, self.store = ManualClock(), FakeStore()
        self.store.clock = self.clock.monotonic
        self.journal = CheckedJournal(self.clock)
        self.fleet = a_fleet(*things, now=0, heard=self.clock.now)
        self.sync = FleetSync(self.store, FakeBus(), self.fleet)  # type: ignore[arg-type]  # a fake bus
        self.sync.known.set()
        self.loads, self.unloads = FakeLoads(self.store.leases), FakeUnloads(self.store.leases)
        self.lease = Lease(
            self.store.leases, "reconciler", holder="here", clock=self.clock, ttl=timedelta(seconds=4)
        )
        self.reconciler = Reconciler(
            fleet=self.fleet,
            lease=self.lease,
            sync=self.sync,
            loads=self.loads,
            unloads=self.unloads,
            clock=self.clock,
            scaling=ScalingRules(),
            eviction=EvictionRules(),
            silence=Silence(fleet=self.fleet, clock=self.clock, seconds=30),
            journal=self.journal,
            warmth=warmth,
        )

    def look(self) -> list[Step]:
        return self.reconciler.look()

    async def step(self, fence: Fence | None = None) -> list[Step]:
        steps = self.look()
        for step in steps:
            await self.reconciler.carry_out(step, fence)
        return steps

    async def lead_elsewhere(self) -> LeaseRow:
        return await self.store.leases.hold("reconciler", "elsewhere", ttl=timedelta(seconds=4))

    async def asked_after(self, seconds: float) -> int:
        """How many loads were asked for, a second at a time."""
        before = len(self.loads.asked)
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.hear()
            await self.step()
        return len(self.loads.asked) - before

    def hear(self) -> None:
        for node_id in self.fleet.nodes:
            self.fleet.hear(node_id, self.clock.now)

    def change(self, *things: Node | Model) -> None:
        nodes = tuple(t for t in things if isinstance(t, Node))
        models = tuple(t for t in things if isinstance(t, Model))
        self.fleet.apply(Changes(sequence=2, nodes=nodes, models=models), self.clock.now)

    def report(self, **busy: int) -> None:
        for node_id in self.fleet.nodes:
            self.fleet.report(node_id, {i.replace("_", "-"): n for i, n in busy.items()}, self.clock.now)


async def test_a_minimum_is_loaded_and_others_may_make_room_for_it() -> None:
    world = World(*TWO, a_model(), a_replica(), Policy("m", min_replicas=2))
    await world.step()
    assert world.loads.asked == [("m", None, True)]


async def test_without_a_policy_nothing_comes_and_nothing_goes() -> None:
    world = World(*TWO, a_model(), a_replica(), a_replica("r-2", node_id="n-two"))
    world.clock.advance(10_000)
    world.report()
    assert world.look() == []


async def test_when_all_are_busy_for_ten_seconds_one_more_is_loaded_if_there_is_room() -> None:
    world = World(*TWO, a_model(), a_replica(), Policy("m", max_replicas=2))
    world.report(r_1=4)
    assert await world.asked_after(9) == 0  # of silence after one report: nothing is known
    for _ in range(12):
        world.clock.advance(1)
        world.report(r_1=4)
        await world.step()
    assert world.loads.asked == [("m", None, False)]


async def test_who_does_not_say_how_busy_it_is_is_neither_busy_nor_idle() -> None:
    things = (a_model(), a_replica(), a_replica("r-2", node_id="n-two"), Policy("m", min_replicas=1))
    world = World(*TWO, *things)
    world.clock.advance(400)
    assert world.look() == []
    world.report()
    assert [type(step) for step in world.look()] == [Shrink]


async def test_a_node_that_is_gone_need_not_say_anything() -> None:
    things = (a_model(), a_replica(), a_replica("r-2", node_id="n-two"), Policy("m", min_replicas=1))
    gone = a_replica("r-3", node_id="n-nowhere")
    world = World(*TWO, *things, gone)
    world.clock.advance(400)
    world.report()
    assert [type(step) for step in world.look()] == [Shrink]


async def test_the_longest_idle_replica_goes_after_five_minutes() -> None:
    world = World(
        *TWO, a_model(), a_replica(), a_replica("r-2", node_id="n-two"), Policy("m", max_replicas=2)
    )
    world.clock.advance(400)
    world.report(r_1=1)
    await world.step()
    assert world.unloads.unloaded == ["r-2"]


@pytest.mark.parametrize("stale", [a_replica(revision="old"), a_replica(model="former")])
async def test_what_serves_an_old_revision_or_a_former_model_goes(stale: Replica) -> None:
    world = World(*TWO, a_model(), stale, a_replica("r-2", node_id="n-two"))
    await world.step()
    assert world.unloads.unloaded == ["r-1"]


async def test_what_its_policy_no_longer_leads_to_goes_once_it_is_loaded() -> None:
    loading = a_replica(state=ReplicaState.LOADING)
    world = World(*TWO, a_model(), loading, Policy("m", {"zone": "eu"}))
    await world.step()
    assert world.unloads.unloaded == []
    world.fleet.apply(Changes(sequence=2, replicas=(replace(loading, state=ReplicaState.READY),)))
    await world.step()
    assert world.unloads.unloaded == ["r-1"]


async def test_a_model_is_spread_over_all_nodes_but_those_that_cannot_have_it() -> None:
    full = a_node("full", free_gib=1)
    world = World(full, *TWO, a_model(size_bytes=2 * GIB), Policy("m", spread_all=True))
    for _ in range(3):
        await world.step()
    assert set(world.loads.asked) == {("m", "one", True)}  # the fake never loads anything
    world.fleet.apply(Changes(sequence=2, replicas=(a_replica(),)), world.clock.now)
    await world.step()
    assert world.loads.asked[-1] == ("m", "two", True)


async def test_a_silent_node_is_no_place() -> None:
    world = World(a_node(), a_model(), Policy("m", min_replicas=1))
    world.clock.advance(31)
    assert world.look() == []
    world.clock.advance(10)
    world.hear()
    assert [type(step) for step in world.look()] == [Grow]


async def test_no_step_is_made_for_a_model_that_is_being_loaded() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    job = LoadJob(id="l-1", model="m", revision="rev1", shared=True, owner="another router")
    world.fleet.apply(Changes(sequence=2, loads=(job,)))
    assert world.look() == []


async def test_without_a_place_nothing_is_loaded_until_one_is_found() -> None:
    world = World(a_node(free_gib=1), a_model(size_bytes=2 * GIB), Policy("m", min_replicas=1))
    assert await world.asked_after(30) == 0
    world.change(a_node("two"))
    assert await world.asked_after(1) == 1


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many looks for a place there were, one entry for each."""
    looks: list[int] = []

    def noted(*args: Any, **more: Any) -> Decision:
        looks.append(len(looks))
        return decide(*args, **more)

    monkeypatch.setattr("weft_router.reconciler.decide", noted)
    return looks


async def test_what_cannot_be_satisfied_is_given_up_after_three_looks_for_five_minutes(
    looked: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    world = World(a_node(free_gib=1), a_model(size_bytes=2 * GIB), Policy("m", min_replicas=1))
    for seconds, looks in ((10, 3), (290, 3), (10, 4), (290, 4), (10, 5)):
        await world.asked_after(seconds)
        assert len(looked) == looks
    given_up = [r for r in caplog.records if r.message == "reconciling_gave_up"]
    assert len(given_up) == 1


@pytest.mark.parametrize(
    "change",
    [
        a_node(free_gib=8),  # memory comes free
        a_node("two"),  # a node joins
        a_node(free_gib=1, labels={"zone": "eu"}),  # labels change
        a_model("other", pinned=True),  # what is protected changes
    ],
)
async def test_whatever_may_make_a_place_ends_the_pause_at_once(
    change: Node | Model, looked: list[int]
) -> None:
    world = World(a_node(free_gib=1), a_model(size_bytes=2 * GIB), Policy("m", min_replicas=1))
    await world.asked_after(60)
    assert len(looked) == 3
    world.change(change)
    await world.asked_after(1)
    assert len(looked) == 4


async def test_a_load_that_fails_three_times_is_left_alone_for_five_minutes() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = LoadFailed("out of memory at layer 7")
    assert await world.asked_after(60) == 3
    assert await world.asked_after(240) == 0
    assert await world.asked_after(20) == 1


@pytest.mark.parametrize(
    "change", [a_node("two", labels={"zone": "eu"}), a_node("three"), a_model(revision="rev2")]
)
async def test_a_node_that_joins_or_is_labelled_and_another_model_file_end_the_pause(
    change: Node | Model,
) -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = LoadFailed("out of memory at layer 7")
    await world.asked_after(60)
    world.change(change)
    assert await world.asked_after(1) == 1


async def test_a_load_that_takes_long_is_no_failure() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = ModelLoading("still loading")
    assert await world.asked_after(5) == 5


@pytest.mark.parametrize("error", [PartUnavailable("NATS cannot be reached"), NoCapacity("all are busy")])
async def test_what_passes_by_itself_is_waited_for(error: WeftError) -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = error
    assert await world.asked_after(30) == 5
    world.loads.error = None
    assert await world.asked_after(10) >= 1


async def test_a_bug_in_one_step_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = KeyError("a bug")
    await world.step()
    assert [r.message for r in caplog.records if r.levelname == "ERROR"] == ["reconciling_broke"]


async def test_so_many_steps_at_once_and_no_more() -> None:
    names = [f"m{n}" for n in range(20)]
    world = World(*TWO, *map(a_model, names), *(Policy(name, min_replicas=1) for name in names))
    assert len(world.look()) == 8
    assert all(isinstance(step, Grow) for step in world.look())


async def test_only_the_router_that_leads_does_anything() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    await world.lead_elsewhere()
    await world.lease.renew()
    assert await world.reconciler.term() is None
    world.clock.advance(4)
    await world.lease.renew()
    async with asyncio.timeout(5), background(world.reconciler.run()):
        while not world.loads.asked:
            await asyncio.sleep(0.01)


async def test_nothing_is_decided_on_a_fleet_that_cannot_be_read() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    await world.lease.renew()
    assert await world.reconciler.term() == Fence("reconciler", 1)
    world.store.down = True
    assert await world.reconciler.term() is None


async def test_a_new_leader_reads_first_what_the_former_one_wrote() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.store.sequence = world.fleet.sequence
    assert [type(step) for step in world.look()] == [Grow]
    job = LoadJob(id="l-1", model="m", revision="rev1", shared=False, owner="elsewhere")
    await world.store.loads.claim(job, orphan=timedelta(seconds=5), cooldown=timedelta(seconds=5))
    await world.lease.renew()
    await world.reconciler.term()
    assert world.look() == []


@pytest.mark.parametrize("policy", [Policy("m", min_replicas=2), Policy("m", {"zone": "nowhere"})])
async def test_a_leader_that_slept_changes_nothing_and_is_counted(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(*TWO, a_model(), a_replica(), policy)
    await world.lease.renew()
    fence = await world.reconciler.term()
    world.clock.advance(4)
    await world.lead_elsewhere()
    assert len(await world.step(fence)) == 1
    assert (world.loads.asked, world.unloads.unloaded) == ([], [])
    assert [row.refused_count for row in await world.store.leases.read()] == [1]
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == ["effect_refused"]


async def test_what_a_former_term_gave_up_on_is_tried_anew() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    await world.lease.renew()
    world.loads.error = LoadFailed("out of memory at layer 7")
    assert await world.asked_after(60) == 3
    await world.lease.renew()
    await world.reconciler.term()
    assert await world.asked_after(1) == 1
