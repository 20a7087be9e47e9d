"""What must be true once nothing fails any more: everybody agrees with the truth, and nothing is stuck."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from weft_router.fleet.entities import NodeState, ReplicaState
from weft_router.placement.decision import Evict, Placed
from weft_router.placement.request import request_for

if TYPE_CHECKING:
    from tests.sim.router import Router
    from tests.sim.world import World

_GIB = 1 << 30
# A router that does not get a node's heartbeats may take a few for what was measured elsewhere.
_TOLERANCE = 0.35


def unhealed(world: World) -> list[str]:
    """Everything that did not come right again."""
    return [
        *_requests(world),
        *_nodes(world),
        *_replicas(world),
        *_minimums(world),
        *(p for r in world.routers for p in _view(world, r)),
    ]


def _requests(world: World) -> Iterator[str]:
    """Every request was answered, refused with a reason, cut by a fault, or timed out."""
    for ask in world.crowd.under_way.values():
        yield f"request {ask.number} for {ask.model} of {ask.since:.1f} s never ended"
    if world.crowd.sent_count != world.shape.request_count:
        yield f"only {world.crowd.sent_count} requests were sent"


def _nodes(world: World) -> Iterator[str]:
    """Whoever was let in and lives is healthy."""
    for node_id, machine in world.machines.items():
        state = world.store.nodes[node_id].state
        expected = NodeState.HEALTHY if machine.invited else NodeState.PENDING
        if state is not expected:
            yield f"{machine.name} is {state}"


def _replicas(world: World) -> Iterator[str]:
    """Rows are what runs, and no load or unload is left over."""
    running = {i: p for m in world.machines.values() for i, p in m.processes.items()}
    for replica_id, row in world.store.replicas.items():
        if replica_id not in running:
            yield f"{replica_id} ({row.state}) has a row and no process"
        elif row.state is not ReplicaState.READY and not world.store.jobs:
            yield f"{replica_id} is still {row.state}"
    for replica_id in running.keys() - world.store.replicas.keys():
        yield f"{replica_id} runs and has no row"
    for job in world.store.jobs.values():
        if world.agenda.now - job.beat > 30:
            yield f"the load of {job.model} has nobody"


def _minimums(world: World) -> Iterator[str]:
    """A model that could have its minimum has it: placement knows no place for what is missing."""
    router = world.routers[0]
    snapshot = router.fleet.snapshot()
    for name, policy in world.store.policies.items():
        there = [r for r in snapshot.replicas(name) if snapshot.counts(r)]
        if len(there) < policy.min_replicas:
            decision = router.decide(request_for(snapshot.models[name], snapshot, another=True))
            if isinstance(decision, Placed | Evict):
                yield f"{name} has {len(there)} of at least {policy.min_replicas} replicas, and there is room"


def _view(world: World, router: Router) -> Iterator[str]:
    """What a router sees is what is there, requests and memory included."""
    fleet = router.fleet
    if fleet.sequence != world.store.sequence:
        yield f"{router.name} is at {fleet.sequence} of {world.store.sequence}"
    for view in fleet.snapshot().views:
        machine = world.machines[view.node.id]
        busy = sum(p.busy_count for p in machine.processes.values())
        if view.in_flight_count != busy:
            yield f"{router.name} believes {view.node.name} to have {view.in_flight_count} requests, not {busy}"
        really = {d.id: d.free_bytes for d in machine.free()}
        for room in view.rooms:
            hidden = really[room.device_id] - room.spare_bytes
            if room.total_bytes and hidden > _TOLERANCE * room.total_bytes:
                yield f"{router.name} misses {hidden / _GIB:.1f} GiB of {room.device_id} on {view.node.name}"
            if room.total_bytes and hidden < -(1 << 20):
                yield f"{router.name} invents {-hidden / _GIB:.1f} GiB of {room.device_id} on {view.node.name}"
