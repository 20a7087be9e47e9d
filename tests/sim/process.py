"""One backend process of a simulated machine: what it holds, and the requests that are at it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from weft_router.fleet.entities import Model, Replica, ReplicaState, Share

# After how long of silence an agent calls a process hung.
HUNG_SECONDS = 20.0
# What a client gets within is a beginning: later nothing can be repeated elsewhere.
FIRST_BYTE_SECONDS = 0.2
# Nobody dials here.
ADDRESS = "127.0.0.1:50051"


class Outcome(Enum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    CUT = "cut by a fault"


@dataclass(slots=True, eq=False)
class Ask:
    """A request on its way; `since` and `deadline` are of the world's time."""

    number: int
    model: str
    gateway: str
    since: float
    deadline: float
    service_seconds: float
    chain: tuple[bytes, ...] = ()
    fallback: str | None = None
    outcome: Outcome | None = None
    tries: int = 0
    at: Process | None = None
    met_full: bool = False


@dataclass(slots=True)
class Seen:
    """Which picks of one gateway a process has seen: all up to `contiguous`, and some `beyond`."""

    contiguous: int = 0
    beyond: set[int] = field(default_factory=set)

    def add(self, number: int) -> None:
        """Note a pick."""
        self.beyond.add(number)
        while self.contiguous + 1 in self.beyond:
            self.contiguous += 1
            self.beyond.discard(self.contiguous)


@dataclass(slots=True, eq=False)
class Process:
    """State: everything but what it was started with. `loaded_share` of `shares` is allocated already."""

    replica_id: str
    model: Model
    index: int
    shares: tuple[Share, ...]
    state: ReplicaState = ReplicaState.LOADING
    loaded_share: float = 0.0
    closing: bool = False
    alive: bool = True
    started: float = 0.0
    # Since when it has answered nothing, if it does not.
    hung_since: float | None = None
    active: dict[Ask, float] = field(default_factory=dict)
    queue: deque[Ask] = field(default_factory=deque)
    seen: dict[str, Seen] = field(default_factory=dict)

    @property
    def busy_count(self) -> int:
        """Requests at it, worked on or queued."""
        return len(self.active) + len(self.queue)

    @property
    def size_bytes(self) -> int:
        """What it holds by now."""
        return int(sum(s.size_bytes for s in self.shares) * self.loaded_share)

    def held(self) -> dict[str, int]:
        """What it holds by now, by device."""
        return {s.device_id: int(s.size_bytes * self.loaded_share) for s in self.shares}

    def is_hung(self, now: float) -> bool:
        """Whether its agent knows that it hangs."""
        return self.hung_since is not None and now - self.hung_since >= HUNG_SECONDS

    def gave_a_byte(self, began: float, now: float) -> bool:
        """Whether a request that began then has had the first byte of its answer."""
        until = now if self.hung_since is None else self.hung_since
        return until - began >= FIRST_BYTE_SECONDS

    def see(self, gateway: str, pick: int) -> None:
        """Note that a gateway's pick has arrived."""
        if gateway not in self.seen:
            self.seen[gateway] = Seen()
        self.seen[gateway].add(pick)

    def told(self, node_id: str, now: float) -> Replica:
        """The process as its worker describes it to a router."""
        return Replica(
            id=self.replica_id,
            model=self.model.name,
            index=self.index,
            revision=self.model.revision,
            node_id=node_id,
            address=ADDRESS,
            state=ReplicaState.UNLOADING if self.closing else self.state,
            slot_count=self.model.slot_count,
            max_queue_count=self.model.max_queue_count,
            memory_bytes=self.size_bytes,
            shares=self.shares,
            problem="its process is stopped" if self.is_hung(now) else "",
        )
