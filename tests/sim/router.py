"""A simulated router: the product's fleet and policy, with a shell of its own that has no event loop.

It has its own clock, which is neither right nor as fast as others, and after a restart it knows nothing that is not
stored. What it sees is checked after every change, and every decision when it is made.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.sim.agenda import Action
from tests.sim.level import Levels
from tests.sim.loads import Loads
from tests.sim.loops import Loops
from tests.sim.machine import Machine, Report
from tests.sim.store import Down, Job, Stale
from tests.sim.waiting import Waiting
from weft_router.fleet.entities import Changes, Device, Node, Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.invariants import broken, broken_on, duplicate_loads
from weft_router.fleet.labels import labelled
from weft_router.fleet.lease import Fence
from weft_router.fleet.lifecycle import ReplicaEvent, move_replica
from weft_router.fleet.memory import vacant
from weft_router.fleet.node_life import state_at_registration
from weft_router.placement.decide import decide
from weft_router.placement.decision import Decision
from weft_router.placement.invariants import broken_by
from weft_router.placement.request import Request

if TYPE_CHECKING:
    from tests.sim.world import World

_POLL_SECONDS = 2.0
# How long gateways take to notice that a router is stopped.
_NOTICE_SECONDS = 4.0


@dataclass(slots=True, eq=False)
class Router:
    """State: everything below `rate`. `life` tells events of this process from those of an earlier one."""

    world: World
    name: str
    offset: float
    rate: float
    alive: bool = False
    life: int = 0
    # Whether the database was read, and when this process started on its own clock.
    knows: bool = False
    started: float = 0.0
    # Until when, by the world's time, it is stopped: it does nothing, and what it was told waits.
    asleep_until: float = 0.0
    fleet: Fleet = field(default_factory=Fleet)
    waiting: Waiting = field(init=False)
    loads: Loads = field(init=False)
    levels: Levels = field(init=False)
    loops: Loops = field(init=False)

    def now(self) -> float:
        """Its own monotonic clock."""
        return self.offset + self.world.agenda.now * self.rate

    @property
    def answers(self) -> bool:
        """Whether it lives, and is not stopped."""
        return self.alive and self.world.agenda.now >= self.asleep_until

    def sleep(self, seconds: float) -> None:
        """Be stopped for a while, and know nothing of it; whoever waited here asks elsewhere once that is noticed."""
        self.asleep_until = self.world.agenda.now + seconds
        for ask in self.waiting.abandon():
            self.world.agenda.after(_NOTICE_SECONDS, self.world.ask_again, ask)

    def start(self) -> None:
        """Begin as a process that knows nothing."""
        self.asleep_until = 0.0
        self.alive, self.life, self.knows, self.started = True, self.life + 1, False, self.now()
        self.fleet = Fleet()
        self.waiting, self.loads = Waiting(self), Loads(self)
        self.levels, self.loops = Levels(self), Loops(self)
        self.every(_POLL_SECONDS, self.refresh)
        self.waiting.start()
        self.loads.start()
        self.loops.start()

    def die(self) -> None:
        """End at once; whoever waited here asks elsewhere, and whoever loads here is orphaned."""
        self.alive, self.knows = False, False
        asks = self.waiting.abandon()
        for ask in asks:
            self.world.ask_again(ask)

    def every(self, seconds: float, action: Action) -> None:
        """Do something again and again as long as this process lives; the database may be down at times."""
        self.world.agenda.after(seconds * self.world.rng.random(), self._again, self.life, seconds, action)

    def soon(self, action: Action, *arguments: Any) -> Action:
        """An action that does nothing once this process is gone."""
        life = self.life

        def act(*more: Any) -> None:
            if self.alive and life == self.life and not self.answers:
                self.world.agenda.after(self.asleep_until - self.world.agenda.now, act, *more)
            elif self.alive and life == self.life:
                try:
                    action(*arguments, *more)
                except (Down, Stale):
                    self.world.ledger.note("writes put off")

        return act

    def _again(self, life: int, seconds: float, action: Action) -> None:
        if not self.alive or life != self.life:
            return
        if not self.answers:
            rest = self.asleep_until - self.world.agenda.now
            self.world.agenda.after(rest, self._again, life, seconds, action)
            return
        try:
            action()
        except (Down, Stale):
            self.world.ledger.note("writes put off")
        self.world.agenda.after(seconds, self._again, life, seconds, action)

    # The way from the database to memory.

    def refresh(self) -> None:
        """Read what changed; every change is checked."""
        store = self.world.store
        if self.fleet.sequence == store.sequence:
            store.reach()
            self.knows = True
            return
        changes = store.changes(self.fleet.sequence)
        self.fleet.apply(changes, self.now())
        self.knows = True
        self._check_change(changes)

    def wrote(self) -> None:
        """Follow an own write at once and hint to the others."""
        self.refresh()
        self.world.hint(self)

    def hinted(self) -> None:
        """Hear that something was written."""
        if self.alive:
            self.soon(self.refresh)()

    def _check_change(self, changes: Changes) -> None:
        nodes = dict.fromkeys((*(n.id for n in changes.nodes), *(r.node_id for r in changes.replicas)))
        snapshot = self.fleet.snapshot()
        problems = [p for i in nodes if i in snapshot.by_id for p in broken_on(snapshot.by_id[i])]
        self.world.ledger.check(self.world.agenda.now, problems)

    def check_everything(self) -> None:
        """Look at the whole fleet as it is seen here."""
        if self.answers and self.knows:
            snapshot = self.fleet.snapshot()
            wished = Counter([j.model for j in self.world.store.jobs.values() if j.wish != j.model])
            wished.update(dict.fromkeys(snapshot.models, 1))
            # A load on a node that fell silent is as good as failed, and another one may be under way.
            hopeful = [r for r in self.fleet.replicas.values() if snapshot.counts(r)]
            problems = [*broken(snapshot), *duplicate_loads(hopeful, wished)]
            self.world.ledger.check(self.world.agenda.now, problems)

    # What workers say.

    def register(self, machine: Machine, life: int, devices: tuple[Device, ...], told: list[Replica]) -> None:
        """Write a node down, new or known, and forget what it no longer runs."""
        if self.answers:
            self.soon(self._register, machine, life, devices, told)()

    def _register(
        self, machine: Machine, life: int, devices: tuple[Device, ...], told: list[Replica]
    ) -> None:
        self.refresh()
        known = self.fleet.nodes.get(machine.node_id)
        approved = known.approved if known else machine.invited
        node = Node(
            id=machine.node_id,
            name=machine.name,
            state=state_at_registration(known, approved=approved),
            approved=approved,
            address="127.0.0.1:50051",
            labels={},
            devices=vacant(devices, told),
            engines=machine.engines,
            max_replicas_per_model=machine.slots,
            max_replicas=3 if machine.slots > 1 else 0,
            token_sha256=b"",
            generation=known.generation + 1 if known else 1,
            worker_labels=machine.labels,
            admin_labels=known.admin_labels if known else {},
        )
        self.world.store.put_node(labelled(node), self.fleet.sequence)
        self.wrote()
        self.fleet.hear(node.id, self.now())
        self.levels.settle(node.id, told)
        self.world.network.send(machine.accept, life, node.generation)

    def heartbeat(self, machine: Machine, devices: tuple[Device, ...], told: list[Replica]) -> None:
        """Take a node's heartbeat, and name what it must stop; nobody waits for a router that is stopped."""
        if self.answers:
            self.soon(self.levels.heartbeat, machine, devices, told)()

    def report(self, report: Report) -> None:
        """Take a load report from the bus; nodes are heard by them, and ends of processes are known at once."""
        self.soon(self._report, report)()

    def _report(self, report: Report) -> None:
        if report.node_id in self.fleet.nodes:
            now = self.now()
            self.fleet.hear(report.node_id, now)
            self.fleet.report(report.node_id, report.busy, now)
            for replica_id in report.gone:
                self.soon(self.levels.gone, replica_id)()

    # Decisions and what follows from them.

    def decide(self, request: Request) -> Decision:
        """Ask placement, and check what it says."""
        snapshot, now, rules = self.fleet.snapshot(), self.now(), self.world.rules
        decision = decide(request, snapshot, now=now, rng=self.world.rng, rules=rules)
        self.world.ledger.note(f"decision: {type(decision).__name__.lower()}")
        self.world.ledger.check(
            self.world.agenda.now, broken_by(decision, request, snapshot, now=now, rules=rules)
        )
        return decision

    def unload(self, replicas: list[Replica], *, force: bool = False, fence: Fence | None = None) -> None:
        """Take replicas out of service for good and have their worker end them."""
        asked = [self.unloading(r) for r in replicas]
        self.world.store.put_replicas(asked, self.fleet.sequence, fence=fence)
        self.wrote()
        for row in asked:
            self.stop(row, force=force)

    def unloading(self, row: Replica) -> Replica:
        """The row as it is once its end was asked for."""
        story = self.fleet.story_of(row.id)
        return replace(row, state=move_replica(row.state, ReplicaEvent.UNLOAD_ASKED, story))

    def stop(self, row: Replica, *, force: bool = False) -> None:
        """Command a worker to end a process; what it does not hear now, a heartbeat's answer tells it."""
        machine = self.world.machine(row.node_id)
        node = self.fleet.nodes[row.node_id]
        confirmed = self.soon(self.levels.gone, row.id)

        def send() -> None:
            machine.stop(
                node.generation, row.id, force=force, answer=lambda: self.world.network.send(confirmed)
            )

        self.world.network.send(send)

    def claim(
        self, row: Replica, victims: tuple[Replica, ...], wish: str, fence: Fence | None = None
    ) -> None:
        """Write down where a model goes and who goes for it, in one piece; raises Stale if that is outdated."""
        job = Job(row.id, row.model, row.node_id, wish, self.identity, self.world.agenda.now)
        going = [self.unloading(v) for v in victims]
        self.world.store.put_replicas([*going, row], self.fleet.sequence, job, fence)
        self.world.check_minimums(victims)
        self.wrote()

    @property
    def identity(self) -> str:
        """A process, as the owner of loads."""
        return f"{self.name}/{self.life}"

    def is_ready(self, replica_id: str) -> bool:
        """Whether a replica's row says that it serves."""
        row = self.fleet.replicas.get(replica_id)
        return row is not None and row.state is ReplicaState.READY
