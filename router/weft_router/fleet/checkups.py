"""Which replicas to check next, and what follows from what was found. Pure: the caller says what time it is.

A refused connection is a miss, and some misses in a row mean that a replica is gone. A check that times out is none:
busy is alive. Whether a replica is hung is for its worker to say, who sees the process; checks only confirm it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from math import ceil

from weft_router.fleet.entities import Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.views import Snapshot

TURN_SECONDS = 1.0
# A worker that has told of its replicas' requests so lately stands up for them.
_VOUCH_SECONDS = 3.0


class Finding(Enum):
    """What one check tells."""

    SERVES = auto()
    BUSY = auto()
    DEAD = auto()


class Verdict(Enum):
    """What a replica has come to."""

    KEEP = auto()
    LOST = auto()
    HUNG = auto()


@dataclass(frozen=True, slots=True)
class CheckupRules:
    """How often a replica that answers is checked, how soon one that did not is checked again, how many misses in a
    row mean that it is gone, and how many checks may be under way.
    """

    interval_seconds: float = 30.0
    retry_seconds: float = 5.0
    miss_count: int = 3
    most_at_once: int = 64


@dataclass(slots=True)
class _Doubt:
    """A replica that did not answer well."""

    misses: int = 0
    hung_looks: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Checkups:
    """State: `_round`, replicas that are yet to have their turn; `_doubts` by replica id; `_asked`, under way."""

    rules: CheckupRules
    _round: deque[str] = field(default_factory=deque)
    _doubts: dict[str, _Doubt] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Begin anew: what another router has seen meanwhile is not known here."""
        self._round.clear()
        self._doubts.clear()

    def due(self, fleet: Fleet, now: float) -> list[Replica]:
        """Replicas to check now: what is in trouble or in doubt, and the next few of the round."""
        snapshot = fleet.snapshot()
        troubled = [r for r in fleet.troubled() if r.state is ReplicaState.READY]
        found: dict[str, Replica] = {}
        for replica in (*troubled, *self._doubted(fleet, snapshot, now), *self._turn(fleet, snapshot)):
            if len(found) + len(self._asked) >= self.rules.most_at_once:
                break
            if replica.id not in self._asked:
                found[replica.id] = replica
        self._asked.update(found)
        return list(found.values())

    def found(self, replica: Replica, finding: Finding | None, fleet: Fleet, now: float) -> Verdict:
        """Take the outcome of one check, None where there is none; tells what the replica has come to."""
        self._asked.discard(replica.id)
        row = fleet.replicas.get(replica.id)
        if row is None or finding is None:
            return Verdict.KEEP
        doubt = self._doubts.setdefault(row.id, _Doubt())
        doubt.due = now + self.rules.retry_seconds
        doubt.misses = doubt.misses + 1 if finding is Finding.DEAD else 0
        useless = finding is not Finding.SERVES or fleet.stalled_seconds(row.id) > 0
        doubt.hung_looks = doubt.hung_looks + 1 if row.problem and useless else 0
        if finding is Finding.SERVES and not row.problem:
            del self._doubts[row.id]
        if doubt.misses >= self.rules.miss_count and not _vouched(row, fleet.snapshot(), now):
            return Verdict.LOST
        return Verdict.HUNG if doubt.hung_looks >= self.rules.miss_count else Verdict.KEEP

    def _doubted(self, fleet: Fleet, snapshot: Snapshot, now: float) -> Iterator[Replica]:
        known = fleet.replicas
        self._doubts = {
            i: d for i, d in self._doubts.items() if i in known and _is_checked(known[i], snapshot)
        }
        return (known[i] for i, doubt in list(self._doubts.items()) if now >= doubt.due)

    def _turn(self, fleet: Fleet, snapshot: Snapshot) -> Iterator[Replica]:
        """So many of the round as have all of it checked within the interval."""
        if not self._round:
            self._round.extend(fleet.replicas)
        count = ceil(len(fleet.replicas) * TURN_SECONDS / self.rules.interval_seconds)
        for _ in range(min(count, len(self._round))):
            replica = fleet.replicas.get(self._round.popleft())
            if replica is not None and _is_checked(replica, snapshot) and replica.id not in self._doubts:
                yield replica


def _is_checked(replica: Replica, snapshot: Snapshot) -> bool:
    """Whether it is to answer requests: ready, current, where its selector leads, on a node that is well."""
    if replica.state is not ReplicaState.READY:
        return False
    return bool(replica.problem) or snapshot.counts(replica)


def _vouched(replica: Replica, snapshot: Snapshot, now: float) -> bool:
    """Whether its worker says just now that it works on something: that is never lost, whoever cannot reach it."""
    view = snapshot.by_id.get(replica.node_id)
    own = next((v for v in view.replicas if v.replica.id == replica.id), None) if view else None
    heard = snapshot.load_heard.get(replica.node_id, float("-inf"))
    return own is not None and own.in_flight_count > 0 and now - heard <= _VOUCH_SECONDS
