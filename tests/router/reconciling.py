"""A reconciler in a fleet of fakes: loads and unloads are noted, and a former leader is refused."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from tests.router.builders import a_fleet, a_node, a_replica
from tests.router.fake_leases import FakeLeases
from tests.router.fake_store import FakeStore
from tests.router.fakes import CheckedJournal, FakeBus
from weft_common.clock import ManualClock
from weft_router.fleet.entities import Changes, Model, Node, Replica
from weft_router.fleet.lease import Fence, LeaseRow
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow, ScalingRules, Step
from weft_router.fleet.views import Snapshot
from weft_router.leases import Lease
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
