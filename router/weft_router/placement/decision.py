"""What placement says; every answer explains itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from weft_router.fleet.entities import Node, Replica, Share
from weft_router.fleet.views import NodeView


@dataclass(frozen=True, slots=True)
class Explanation:
    """On which fleet it was decided, and how many nodes each filter left out, in the order of the filters.

    `yielded` names soft filters that would have left nobody and were passed over.
    """

    revision: int = 0
    considered_count: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    yielded: tuple[str, ...] = ()

    def summary(self) -> str:
        """Counts by reason, for an error message."""
        if not self.considered_count:
            return "no node has joined yet"
        nodes = "1 node" if self.considered_count == 1 else f"{self.considered_count} nodes"
        return f"{nodes}: " + ", ".join(f"{n} {reason}" for reason, n in self.counts.items())


@dataclass(frozen=True, slots=True)
class Serve:
    """Replicas that serve the model are there."""

    replicas: tuple[Replica, ...]
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Join:
    """A load of the model is under way; the answer is to wait for it."""

    replica: Replica
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the model goes, and what memory is to be set aside for it."""

    node: Node
    replica_index: int
    shares: tuple[Share, ...]
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Evict:
    """Where the model goes once `victims` are gone; the load begins when its memory is confirmed free.

    There are no victims where memory is coming free anyway. With `drains` they still work: they take nothing new,
    finish, and go. With `forced` they are cut.
    """

    node: Node
    victims: tuple[Replica, ...]
    replica_index: int
    shares: tuple[Share, ...]
    explanation: Explanation
    drains: bool = False
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now, but soon: ask again when the fleet changes, at `until` at the latest if it is given."""

    reason: str
    until: float | None
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing can be done in time."""

    reason: str
    retry_after_seconds: float
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Rejected:
    """No node has room; `candidates` are those that lack nothing but memory."""

    explanation: Explanation
    candidates: tuple[NodeView, ...] = ()


Decision: TypeAlias = Serve | Join | Placed | Evict | Wait | Refuse
