"""Everything that one router is made of, put together: first what all of it stands on, then what works on that."""

import asyncio
from dataclasses import dataclass
from uuid import uuid4

from prometheus_client import CollectorRegistry

from weft_common.bus import Bus
from weft_common.clock import SystemClock
from weft_common.event_stream import measure_events
from weft_common.events import Journal
from weft_common.metrics import new_registry
from weft_common.waiting_view import WaitingView
from weft_router.catalog import Catalog
from weft_router.events.reader import EventReader
from weft_router.fleet.fleet import Fleet
from weft_router.ground import Ground
from weft_router.health_monitor import HealthMonitor
from weft_router.leases import Leases
from weft_router.loading.commands import Commands
from weft_router.loading.loads import Loads
from weft_router.loading.parts import make_loads
from weft_router.nodes.parts import NodeParts, make_nodes
from weft_router.probe import Probe
from weft_router.reconciler import Reconciler
from weft_router.settings import RouterSettings
from weft_router.silence import Silence
from weft_router.slots.metrics import SlotMetrics
from weft_router.slots.owners import Owners
from weft_router.slots.queue_board import QueueBoard
from weft_router.slots.slots import Slots
from weft_router.staging.parts import StagingParts, make_staging
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync
from weft_router.unloads import Unloads
from weft_router.warmth import Warmth


@dataclass(frozen=True, slots=True)
class Base(Ground):
    """What parts work with; `tasks` is the parent of what outlives a call."""

    bus: Bus
    tasks: asyncio.TaskGroup
    commands: Commands
    silence: Silence
    leases: Leases
    registry: CollectorRegistry


@dataclass(frozen=True, slots=True)
class Parts:
    """What services call and loops run."""

    base: Base
    catalog: Catalog
    loads: Loads
    files: StagingParts
    unloads: Unloads
    probe: Probe
    nodes: NodeParts
    reconciler: Reconciler
    monitor: HealthMonitor
    slots: Slots
    owners: Owners
    queues: QueueBoard
    warmth: Warmth
    waiting: WaitingView
    events: EventReader

    def close(self) -> None:
        """Leave what is under way to other routers."""
        self.loads.close()
        self.probe.close()


def make_base(
    settings: RouterSettings, store: Store, bus: Bus, journal: Journal, tasks: asyncio.TaskGroup
) -> Base:
    """Lay the ground."""
    fleet, clock, registry = Fleet(), SystemClock(), new_registry()
    measure_events(journal, registry)
    return Base(
        settings=settings,
        store=store,
        bus=bus,
        journal=journal,
        tasks=tasks,
        clock=clock,
        fleet=fleet,
        sync=FleetSync(store, bus, fleet, clock, keep_alive=settings.keep_alive),
        commands=Commands(bus, install_seconds=settings.install_timeout.total_seconds()),
        silence=Silence(fleet=fleet, clock=clock, seconds=settings.node_silence.total_seconds()),
        leases=Leases(
            store.leases,
            holder=_identity(settings),
            clock=clock,
            ttl=settings.lease_ttl,
            journal=journal,
        ),
        registry=registry,
    )


def _identity(settings: RouterSettings) -> str:
    """This process and no other one: what a router led in before it was started anew is not its any more."""
    return f"{settings.part()}-{uuid4().hex[:8]}"


def make_parts(base: Base) -> Parts:
    """Build what works on it."""
    fleet, store, sync, clock = base.fleet, base.store, base.sync, base.clock
    files = make_staging(base, registry=base.registry)
    loads = make_loads(
        base,
        commands=base.commands,
        tasks=base.tasks,
        staging=files.staging,
        look=files.census.look_for,
    )
    unloads = Unloads(fleet=fleet, store=store, sync=sync, commands=base.commands)
    probe, warmth = _probe(base), _warmth(base)
    slots, waiting = _slots(base), WaitingView(clock)
    return Parts(
        base=base,
        catalog=Catalog(base.settings.models_path, store=store, sync=sync, fleet=fleet, clock=clock),
        loads=loads,
        files=files,
        unloads=unloads,
        probe=probe,
        nodes=make_nodes(base, unloads=unloads, leases=base.leases),
        monitor=_monitor(base, probe, unloads),
        slots=slots,
        owners=_owners(base, slots),
        queues=QueueBoard(slots=slots, bus=base.bus, waiting=waiting, clock=clock),
        warmth=warmth,
        waiting=waiting,
        reconciler=_reconciler(base, loads, unloads, warmth, waiting),
        events=EventReader(base.bus),
    )


def _probe(base: Base) -> Probe:
    return Probe(
        settings=base.settings,
        fleet=base.fleet,
        store=base.store,
        sync=base.sync,
        clock=base.clock,
        journal=base.journal,
        tasks=base.tasks,
    )


def _warmth(base: Base) -> Warmth:
    return Warmth(
        fleet=base.fleet,
        store=base.store,
        clock=base.clock,
        rules=base.settings.idle_rules(),
        prewarm=base.settings.prewarm,
    )


def _slots(base: Base) -> Slots:
    return Slots(
        fleet=base.fleet,
        clock=base.clock,
        router_id=f"r-{uuid4().hex[:12]}",
        rules=base.settings.queue_rules(),
        metrics=SlotMetrics(base.registry),
    )


def _owners(base: Base, slots: Slots) -> Owners:
    def leave() -> None:
        slots.leave(lambda model: owners.elsewhere(model) is not None)

    owners = Owners(
        base.store.leases,
        base.settings.own_address(),
        clock=base.clock,
        ttl=base.settings.lease_ttl,
        moved=leave,
    )
    return owners


def _reconciler(
    base: Base, loads: Loads, unloads: Unloads, warmth: Warmth, waiting: WaitingView
) -> Reconciler:
    return Reconciler(
        fleet=base.fleet,
        lease=base.leases.of("reconciler"),
        sync=base.sync,
        loads=loads,
        unloads=unloads,
        clock=base.clock,
        scaling=base.settings.scaling_rules(),
        eviction=base.settings.eviction_rules(),
        silence=base.silence,
        journal=base.journal,
        warmth=warmth,
        waited_for=waiting.models,
    )


def _monitor(base: Base, probe: Probe, unloads: Unloads) -> HealthMonitor:
    return HealthMonitor(
        fleet=base.fleet,
        lease=base.leases.of("health"),
        sync=base.sync,
        probe=probe,
        unloads=unloads,
        store=base.store,
        clock=base.clock,
        rules=base.settings.checkup_rules(),
        journal=base.journal,
    )
