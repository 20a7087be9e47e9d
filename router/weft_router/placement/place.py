"""Decide which node loads a model: candidates, then filters, then scores, then the best.

Order of preference (design §5): enough free memory, idle before busy, least loaded, most free. A later issue adds
eviction behind `Rejected`; nothing here waits, reads a clock or writes.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from weft_router.fleet.entities import Model, Node, NodeState, Replica


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node as placement sees it; memory in bytes, `free_bytes` is None where the node's capacity is unknown."""

    node: Node
    replicas: tuple[Replica, ...]
    free_bytes: int | None
    in_flight_count: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """A model to place and the memory that it needs, in bytes (0: unknown)."""

    model: Model
    need_bytes: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the model goes; `excluded` tells why other nodes did not come into question."""

    node: Node
    replica_index: int
    excluded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """No node can take the model; `excluded` has each node's reason by the node's name."""

    excluded: Mapping[str, str]

    def summary(self) -> str:
        """Counts per reason, for an error message."""
        if not self.excluded:
            return "no node has joined yet"
        counts = Counter(self.excluded.values())
        nodes = "1 node" if len(self.excluded) == 1 else f"{len(self.excluded)} nodes"
        return f"{nodes}: " + ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items()))


Filter = Callable[[Candidate, Request], str | None]


def healthy(candidate: Candidate, request: Request) -> str | None:
    """Only healthy nodes receive models."""
    state = candidate.node.state
    return None if state is NodeState.HEALTHY else str(state)


def engine_present(candidate: Candidate, request: Request) -> str | None:
    """The node's worker must know the model's engine."""
    return (
        None if request.model.backend in candidate.node.engines else f"without engine {request.model.backend}"
    )


def replica_slot_free(candidate: Candidate, request: Request) -> str | None:
    """A node runs a bounded number of replicas of one model."""
    free = _free_indexes(candidate, request)
    return None if free else "with all replica slots taken"


def memory_fits(candidate: Candidate, request: Request) -> str | None:
    """A model that is known not to fit is not tried; unknown memory is."""
    if candidate.free_bytes is None or request.need_bytes <= candidate.free_bytes:
        return None
    return "without enough free memory"


FILTERS: Sequence[Filter] = (healthy, engine_present, replica_slot_free, memory_fits)


def place(request: Request, candidates: Sequence[Candidate]) -> Placed | Rejected:
    """Choose a node for one more replica of a model."""
    excluded: dict[str, str] = {}
    eligible: list[Candidate] = []
    for candidate in candidates:
        reason = next((why for f in FILTERS if (why := f(candidate, request))), None)
        if reason is None:
            eligible.append(candidate)
        else:
            excluded[candidate.node.name] = reason
    if not eligible:
        return Rejected(excluded)
    best = min(eligible, key=_preference)
    return Placed(best.node, _free_indexes(best, request)[0], excluded)


def _preference(candidate: Candidate) -> tuple[bool, bool, int, int, int, str]:
    """Known room first, then idle, least loaded, most free; the name makes equal nodes a stable choice."""
    return (
        candidate.free_bytes is None,
        bool(candidate.replicas),
        candidate.in_flight_count,
        len(candidate.replicas),
        -(candidate.free_bytes or 0),
        candidate.node.name,
    )


def _free_indexes(candidate: Candidate, request: Request) -> list[int]:
    taken = {r.index for r in candidate.replicas if r.model == request.model.name}
    if len(taken) >= candidate.node.max_replicas_per_model:
        return []
    return [i for i in range(len(taken) + 1) if i not in taken]
