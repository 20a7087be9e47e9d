"""Which replicas to check next, and what follows from what was found. Pure: the caller says what time it is.

A refused connection is a miss, and some misses in a row mean that a replica is gone, unless its worker says that it
runs and answers: then nobody gets through to it, or this router does not, and others are to be preferred. A check that
times out is no miss: busy is alive. Whether a replica is hung is for its worker to say, who sees the process; checks
only confirm it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from math import ceil

from weft_router.fleet.entities import Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.self_doubt import SelfDoubt
from weft_router.fleet.unstored import Word
from weft_router.fleet.views import Snapshot

TURN_SECONDS = 1.0
# What a worker told so lately of a replica stands up for it; told every second.
_VOUCH_SECONDS = 3.0
# A stall of so much of what counts as stuck confirms that; a busy replica has a short one all the time.
_NEAR = 0.9
# So many intervals between heartbeats after one the next is late.
_LATE = 1.5


class Finding(Enum):
    """What one check tells: it was answered well; it was not, by something that listens; connections are refused or
    reset; none comes about, and nobody says why; this router has not the means to connect to anybody.
    """

    SERVES = auto()
    BUSY = auto()
    DEAD = auto()
    UNREACHED = auto()
    UNABLE = auto()


class Verdict(Enum):
    """What a replica has come to."""

    KEEP = auto()
    LOST = auto()
    HUNG = auto()
    OUT_OF_REACH = auto()
    BACK = auto()


@dataclass(frozen=True, slots=True)
class CheckupRules:
    """How often a replica that answers is checked, how soon one that did not is checked again, how many misses in a
    row mean that it is gone, how many checks may be under way, how often workers send heartbeats,
    and how long an engine gives nothing to its requests that counts as stuck.
    """

    interval_seconds: float = 30.0
    retry_seconds: float = 5.0
    miss_count: int = 3
    most_at_once: int = 64
    heartbeat_seconds: float = 10.0
    stuck_seconds: float = 300.0


@dataclass(slots=True)
class _Doubt:
    """A replica that did not answer well."""

    misses: int = 0
    away: int = 0
    hung_looks: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Checkups:
    """State: `_round`, replicas that are yet to have their turn; `_doubts` by replica id; `_asked`, under way; and
    `_of_itself`, what speaks for trouble of this router's own.
    """

    rules: CheckupRules
    _round: deque[str] = field(default_factory=deque)
    _doubts: dict[str, _Doubt] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _of_itself: SelfDoubt = field(init=False)

    def __post_init__(self) -> None:
        self._of_itself = SelfDoubt(self.rules.miss_count)

    @property
    def doubts_itself(self) -> bool:
        """Whether this router had better leave checks to another one."""
        return self._of_itself.justified

    def forget(self) -> None:
        """Begin anew: what another router has seen meanwhile is not known here."""
        self._round.clear()
        self._doubts.clear()
        self._of_itself.forget()

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
        if finding is Finding.UNABLE:
            self._of_itself.unable()
        if row is None or finding in (None, Finding.UNABLE):
            return Verdict.KEEP
        vouched = self._vouched(row, fleet, now)
        away = finding in (Finding.DEAD, Finding.UNREACHED)
        self._of_itself.note(row.id, row.node_id, contradicted=away and vouched)
        doubt = self._doubts.setdefault(row.id, _Doubt())
        doubt.due = now + self.rules.retry_seconds
        doubt.misses = doubt.misses + 1 if finding is Finding.DEAD else 0
        doubt.away = doubt.away + 1 if away and _idle(fleet.word_of(row.id), now) else 0
        useless = finding is not Finding.SERVES or self._stuck(fleet.word_of(row.id), now)
        doubt.hung_looks = doubt.hung_looks + 1 if row.problem and useless else 0
        if finding is Finding.SERVES and not row.problem:
            del self._doubts[row.id]
        if doubt.misses >= self.rules.miss_count and not vouched:
            return Verdict.LOST
        if doubt.hung_looks >= self.rules.miss_count:
            return Verdict.HUNG
        if row.unreachable:
            return Verdict.BACK if finding is Finding.SERVES else Verdict.KEEP
        return Verdict.OUT_OF_REACH if doubt.away >= self.rules.miss_count else Verdict.KEEP

    def _stuck(self, word: Word, now: float) -> bool:
        """Whether it says just now that its engine gives nothing, though its process answers."""
        fresh = now - word.time <= _VOUCH_SECONDS
        return fresh and word.stalled_seconds >= _NEAR * self.rules.stuck_seconds

    def _vouched(self, row: Replica, fleet: Fleet, now: float) -> bool:
        """Whether its worker says just now that it runs: in its reports, or where they do not come, by a heartbeat.

        A heartbeat that did not list it would have ended its row, at whichever router.
        """
        if now - fleet.word_of(row.id).time <= _VOUCH_SECONDS:
            return True
        reported = fleet.snapshot().load_heard.get(row.node_id, float("-inf"))
        if now - reported <= _VOUCH_SECONDS:
            return False
        heard = fleet.heard.get(row.node_id, float("-inf"))
        return now - heard <= _LATE * self.rules.heartbeat_seconds

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
    return bool(replica.problem or replica.unreachable) or snapshot.counts(replica)


def _idle(word: Word, now: float) -> bool:
    """Whether it says just now that nothing is under way: no request gets through to it either."""
    return now - word.time <= _VOUCH_SECONDS and not word.in_flight_count
