"""Who gets the next slot of a model: priority first, then the least work for one's weight, then who came first.

Start-time fair queueing over principals. Each has a rank: the work that it was charged, divided by its weight. The
lowest rank among those who wait goes next. What is under way is charged with what the principal's requests take on
average, and corrected by what they took once they have ended, so that long and short requests get equal shares of
tokens and not of turns. Whoever comes back starts where the one stands who was served last: an absence earns nothing,
and work done while nobody waited costs nothing, since it took nothing from anybody.

All counts are of work (see `Tally`), all times in seconds; the caller says what it measures.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from weft_router.slots.core.pace import Mean

# Requests under way, and the work that these have taken so far.
UnderWay = tuple[int, float]
_NOTHING: UnderWay = (0, 0.0)
# Work of a request of which nothing is known, neither from others nor from itself.
_UNKNOWN_WORK = 256.0
# Principals that are remembered although they neither wait nor have anything under way.
_MAX_IDLE = 4096


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says for itself; `max_work` is 0 where it does not say how much it may take."""

    principal: str
    weight: float = 1.0
    priority: int = 0
    max_work: float = 0.0


@dataclass(slots=True, eq=False)
class Wait:
    """A request in the queue; `number` is its place in the order of arrival."""

    claim: Claim
    number: int
    since: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many are served before a newcomer, and how long until it is its turn; None where nothing was measured."""

    position: int
    seconds: float | None

    def is_longer(self, than_seconds: float, slot_count: int) -> bool:
        """Whether a newcomer should not even begin to wait for at most so long.

        Whoever is among the next for the slots may always: when those that run began is unknown here, they may be about
        to end. Where requests take longer than anybody waits, slots would stand empty after each one.
        """
        return self.seconds is not None and self.seconds > than_seconds and self.position >= slot_count


@dataclass(slots=True, eq=False)
class _Share:
    """One principal; state: all of it. `charged` is work per weight, of what has ended."""

    weight: float
    priority: int
    charged: float = float("-inf")
    under_way: UnderWay = _NOTHING
    max_work: float = 0.0
    waiting: dict[int, Wait] = field(default_factory=dict)
    work: Mean = field(default_factory=Mean)
    service: Mean = field(default_factory=Mean)

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.under_way[0]

    def head(self) -> Wait:
        return next(iter(self.waiting.values()))


@dataclass(slots=True)
class FairQueue:
    """The requests that wait for one model. State: all of it; `_levels` are the ranks served last, by priority."""

    work: Mean = field(default_factory=Mean)
    service: Mean = field(default_factory=Mean)
    _shares: dict[str, _Share] = field(default_factory=dict)
    # Those of `_shares` that wait.
    _waiting: dict[str, _Share] = field(default_factory=dict)
    _levels: dict[int, float] = field(default_factory=dict)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def add(self, claim: Claim, number: int, now: float, under_way: UnderWay = _NOTHING) -> Wait:
        """Let a request wait."""
        share = self._share(claim)
        share.under_way = under_way
        if not share.waiting:
            level = self._levels.get(share.priority, 0.0)
            share.charged = max(share.charged, level - self._pending(share))
        wait = Wait(claim, number, now)
        share.waiting[number] = wait
        self._waiting[claim.principal] = share
        self._count += 1
        return wait

    def remove(self, wait: Wait) -> None:
        """Drop a request that has left or is to be refused; without effect where it waits no more."""
        share = self._waiting.get(wait.claim.principal)
        if share is None or share.waiting.pop(wait.number, None) is None:
            return
        self._count -= 1
        if not share.waiting:
            del self._waiting[wait.claim.principal]

    def take(self) -> Wait:
        """Take out whose turn it is; the caller then says by `note` that it is under way. Raises where nobody waits."""
        share = min(self._waiting.values(), key=lambda s: (-s.priority, self._rank(s), next(iter(s.waiting))))
        self._levels[share.priority] = max(self._levels.get(share.priority, 0.0), self._rank(share))
        wait = share.head()
        self.remove(wait)
        return wait

    def note(self, principal: str, under_way: UnderWay) -> None:
        """Say what is under way for a principal; of those that never waited nothing is kept."""
        share = self._shares.get(principal)
        if share is not None:
            share.under_way = under_way

    def settle(self, principal: str, work: float, finished: int, slot_seconds: float) -> None:
        """Charge a principal with requests that have ended, unless nobody waited, and learn what they take."""
        self.work.add(work, finished)
        self.service.add(slot_seconds, finished)
        share = self._shares.get(principal)
        if share is None:
            return
        share.work.add(work, finished)
        share.service.add(slot_seconds, finished)
        if self._count and share.charged > float("-inf"):
            share.charged += work / share.weight

    def forecast(self, claim: Claim, slot_count: int) -> Forecast:
        """Where a newcomer would stand, if all go on as they do and nobody else comes."""
        own = self._shares.get(claim.principal)
        own_count = len(own.waiting) if own else 0
        rank = self._levels.get(claim.priority, 0.0)
        if own is not None and own.priority == claim.priority:
            rank = max(rank, self._rank(own)) + own_count * self._expected(own) / own.weight
        counts = {own: own_count} if own else {}
        for share in self._waiting.values():
            if share is not own:
                counts[share] = self._served_before(share, claim.priority, rank)
        position = sum(counts.values())
        mean = self.service.value
        if mean is None or not slot_count:
            return Forecast(position, None)
        seconds = sum(n * (s.service.value or mean) for s, n in counts.items())
        return Forecast(position, (seconds + mean) / slot_count)

    def giving_way(self) -> Wait | None:
        """The request that others go before if there is no room for all: the newest of whoever waits with most."""
        if not self._waiting:
            return None
        share = min(self._waiting.values(), key=lambda s: (s.priority, -len(s.waiting) / s.weight))
        return next(reversed(share.waiting.values()))

    def crowd(self, claim: Claim) -> float:
        """How many requests a principal lets wait for its weight, with this one."""
        share = self._waiting.get(claim.principal)
        return ((len(share.waiting) if share else 0) + 1) / claim.weight

    def waits(self) -> Iterator[tuple[str, list[Wait]]]:
        """Everybody who waits, by principal, oldest first."""
        for principal, share in self._waiting.items():
            yield principal, list(share.waiting.values())

    def _share(self, claim: Claim) -> _Share:
        """The principal's share as its newest claim has it."""
        share = self._shares.pop(claim.principal, None)
        if share is None or share.priority != claim.priority:
            former, share = share, _Share(claim.weight, claim.priority)
            share.waiting = former.waiting if former else {}
        share.weight, share.max_work = claim.weight, claim.max_work
        self._shares[claim.principal] = share
        if len(self._shares) - len(self._waiting) > _MAX_IDLE:
            self._forget_one()
        return share

    def _rank(self, share: _Share) -> float:
        return share.charged + self._pending(share)

    def _pending(self, share: _Share) -> float:
        """What is under way, as work per weight."""
        count, running = share.under_way
        return max(count * self._expected(share), running) / share.weight

    def _expected(self, share: _Share) -> float:
        """Work that a request of this principal is likely to be."""
        likely = share.work.value or self.work.value or _UNKNOWN_WORK
        return min(likely, share.max_work) if share.max_work else likely

    def _served_before(self, share: _Share, priority: int, rank: float) -> int:
        """Requests of another principal that go before one at this rank."""
        if share.priority != priority:
            return len(share.waiting) if share.priority > priority else 0
        turns = (rank - self._rank(share)) * share.weight / self._expected(share)
        return min(len(share.waiting), max(0, math.floor(turns) + 1))

    def _forget_one(self) -> None:
        """Drop whoever has nothing here and was not heard of for longest."""
        idle = next((name for name, share in self._shares.items() if share.is_idle), None)
        if idle is not None:
            del self._shares[idle]
