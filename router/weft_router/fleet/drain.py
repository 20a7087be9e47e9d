"""Drain a node: what is in flight finishes, then its replicas go, and at the deadline the rest goes by force."""

from dataclasses import dataclass

from weft_router.fleet.entities import Replica, ReplicaState
from weft_router.fleet.views import NodeView


@dataclass(frozen=True, slots=True)
class DrainStep:
    """What to do now: unload what is idle, stop what overran the deadline; `done` once nothing is left."""

    unload: tuple[Replica, ...]
    force: tuple[Replica, ...]
    done: bool


def drain_step(view: NodeView, *, now: float, deadline: float) -> DrainStep:
    """The next step of a draining node's goodbye; a load under way is nobody's request and ends at once."""
    if now >= deadline:
        return DrainStep((), tuple(v.replica for v in view.replicas), not view.replicas)
    idle = (
        v.replica
        for v in view.replicas
        if v.replica.state is ReplicaState.LOADING
        or (v.replica.state is ReplicaState.READY and not v.in_flight_count)
    )
    return DrainStep(tuple(idle), (), not view.replicas)
