"""What goes wrong in a simulated world, and what admins do meanwhile; both at moments that suit nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.sim.loops import LIMITS
from weft_router.fleet.entities import Node, NodeState, ReplicaState
from weft_router.fleet.labels import labelled
from weft_router.fleet.lifecycle import NodeEvent
from weft_router.fleet.node_life import allowed, approved, drained, resumed

_OUTAGE_SECONDS = 40.0

if TYPE_CHECKING:
    from tests.sim.machine import Machine
    from tests.sim.world import World


@dataclass(slots=True, eq=False)
class Faults:
    """State: `over`, and what will be mended at the end."""

    world: World
    over: bool = False
    _kinds: list[tuple[Callable[[], None], int]] = field(default_factory=list)

    def start(self) -> None:
        """Begin to do harm."""
        self._kinds = [
            (self._crash_replica, 30),
            (self._doom_load, 10),
            (self._hang_replica, 5),
            (self._kill_machine, 8),
            (self._silence_machine, 6),
            (self._restart_agent, 6),
            (self._edit_model, 5),
            (self._edit_policy, 4),
            (self._drain, 5),
            (self._approve, 3),
            (self._label, 2),
        ]
        self._next()
        self._next_outage()

    def end(self) -> None:
        """Stop doing harm; everything that is broken is mended within a minute."""
        self.over = True
        self.world.network.loss_share = 0.0

    def _next(self) -> None:
        world = self.world
        if self.over:
            return
        actions = [a for a, _ in self._kinds]
        world.rng.choices(actions, weights=[w for _, w in self._kinds])[0]()
        world.ledger.note("faults and edits")
        rate = world.shape.requests_per_second * world.shape.fault_share
        world.agenda.after(world.rng.expovariate(rate), self._next)

    def _next_outage(self) -> None:
        """What everybody feels comes by the clock, however many requests there are."""
        world = self.world
        if self.over:
            return
        outages = (
            self._kill_router,
            self._stop_router,
            self._stop_router,
            self._database_down,
            self._bad_network,
        )
        world.rng.choice(outages)()
        world.agenda.after(world.rng.expovariate(1 / _OUTAGE_SECONDS), self._next_outage)

    # Workers.

    def _crash_replica(self) -> None:
        running = [(m, p) for m in self.world.machines.values() for p in m.processes.values()]
        if running:
            machine, process = self.world.rng.choice(running)
            machine.crash(process)

    def _hang_replica(self) -> None:
        running = [(m, p) for m in self.world.machines.values() for p in m.processes.values()]
        if running:
            machine, process = self.world.rng.choice(running)
            machine.hang(process)

    def _doom_load(self) -> None:
        loading = [
            (m, p)
            for m in self.world.machines.values()
            for p in m.processes.values()
            if p.state is ReplicaState.LOADING
        ]
        if loading:
            machine, process = self.world.rng.choice(loading)
            fate = self.world.rng.choice(("stalls", "the file is damaged", "out of memory, it says"))
            machine.doomed[process.replica_id] = fate
            self.world.ledger.note("fault: a load that fails or stalls")

    def _kill_machine(self) -> None:
        machine = self._machine()
        if machine.alive:
            self.world.ledger.note("fault: machine lost power")
            machine.die()
            self.world.agenda.after(self.world.rng.choice((2.0, 20.0, 45.0, 90.0)), machine.start)

    def _silence_machine(self) -> None:
        machine = self._machine()
        if machine.alive and not machine.silent:
            self.world.ledger.note("fault: machine cut off")
            machine.silent = True
            self.world.agenda.after(self.world.rng.choice((3.0, 25.0, 40.0, 70.0)), self._hear, machine)

    def _hear(self, machine: Machine) -> None:
        machine.silent = False

    def _restart_agent(self) -> None:
        machine = self._machine()
        if machine.alive and not machine.silent:
            self.world.ledger.note("fault: agent restarted")
            machine.register()

    # Routers, the database, the network.

    def _kill_router(self) -> None:
        router = self.world.rng.choice(self.world.routers)
        if router.alive:
            self.world.ledger.note("fault: router killed")
            router.die()
            self.world.agenda.after(self.world.rng.choice((0.5, 5.0, 30.0)), router.start)

    def _stop_router(self) -> None:
        """Any, at any moment; or the one that leads when it has just decided something."""
        rng = self.world.rng
        seconds = rng.choice((2.0, 5.0, 10.0, 30.0))
        for leader in [r for r in self.world.routers if r.loops.fence]:
            leader.loops.drowsy = seconds
        router = rng.choice(self.world.routers)
        if router.answers and rng.random() < 0.5:
            self.world.ledger.note("fault: router stopped for a while")
            router.sleep(seconds)

    def _database_down(self) -> None:
        if not self.world.store.down:
            self.world.ledger.note("fault: database down")
            self.world.store.down = True
            self.world.agenda.after(self.world.rng.choice((1.0, 5.0, 20.0)), self._database_up)

    def _database_up(self) -> None:
        self.world.store.down = False

    def _bad_network(self) -> None:
        self.world.ledger.note("fault: network lost every third message")
        self.world.network.loss_share = 0.3
        self.world.agenda.after(5.0, self._good_network)

    def _good_network(self) -> None:
        self.world.network.loss_share = 0.0 if self.over else self.world.shape.loss_share

    # Admins.

    def _edit_model(self) -> None:
        store = self.world.store
        if not store.down:
            model = self.world.rng.choice(list(store.models.values()))
            number = int(model.revision.removeprefix("rev")) + 1
            size = int(model.size_bytes * self.world.rng.uniform(0.9, 1.1))
            self.world.edit(replace(model, revision=f"rev{number}", size_bytes=size))
            self.world.ledger.note("edit: model")

    def _edit_policy(self) -> None:
        store = self.world.store
        if store.down:
            return
        policy = self.world.rng.choice(list(store.policies.values()))
        if not policy.spread_all and not policy.node_selector:
            least = self.world.rng.choice((0, 1, 2))
            most = self.world.rng.choice((0, least, least + 2))
            store.put_policy(replace(policy, min_replicas=least, max_replicas=most))
            self.world.ledger.note("edit: policy")

    def _drain(self) -> None:
        node = self._row()
        if node is None or not allowed(node, NodeEvent.DRAIN_ASKED) or node.state is NodeState.DRAINING:
            return
        self._write(drained(node, by_itself=False))
        self.world.drained[node.id] = self.world.agenda.now
        self.world.ledger.note("edit: node drained")
        self.world.agenda.after(self.world.rng.choice((5.0, 50.0)), self._resume, node.id)

    def _resume(self, node_id: str) -> None:
        node = self.world.store.nodes[node_id]
        if self.world.store.down:
            self.world.agenda.after(1.0, self._resume, node_id)
        elif allowed(node, NodeEvent.RESUMED):
            self.world.drained[node_id] = self.world.agenda.now
            self._write(resumed(node, self._age(node_id), LIMITS))

    def _approve(self) -> None:
        """Somebody asks for everything that might let a stranger in; approval alone does."""
        pending = [n for n in self.world.store.nodes.values() if n.state is NodeState.PENDING]
        if not pending or self.world.store.down:
            return
        node = self.world.rng.choice(pending)
        if allowed(node, NodeEvent.DRAIN_ASKED) or allowed(node, NodeEvent.RESUMED):
            self.world.fail(f"{node.name} is pending and may be drained or resumed")
        if self.world.rng.random() < 0.5:
            self.world.machines[node.id].invited = True
            self._write(approved(node, self._age(node.id), LIMITS))
            self.world.ledger.note("edit: node approved")

    def _label(self) -> None:
        node = self._row()
        if node is not None and node.labels.get("pool") == "open":
            mark = {"mark": str(self.world.rng.randrange(3))}
            self._write(labelled(replace(node, admin_labels=mark)))

    def _write(self, node: Node) -> None:
        self.world.store.put_node(node, self.world.store.sequence)

    def _age(self, node_id: str) -> float:
        """How long ago any router heard a node; an API call reaches just one of them."""
        live = [r for r in self.world.routers if r.answers]
        router = self.world.rng.choice(live or self.world.routers)
        return router.now() - router.fleet.heard.get(node_id, router.started)

    def _machine(self) -> Machine:
        return self.world.rng.choice(list(self.world.machines.values()))

    def _row(self) -> Node | None:
        rows = list(self.world.store.nodes.values())
        return None if self.world.store.down or not rows else self.world.rng.choice(rows)
