"""Which ready replica serves a request; pure, and shared by everybody who chooses.

Order (design §4): in flight ascending, last used ascending (oldest first), free memory descending. What is equal then
is ordered by a hash with the chooser's name, so that several gateways do not all prefer the same replica. Each
criterion is asked only of those that all earlier ones left equal: mostly that is one look at each replica.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from operator import eq
from typing import Generic, Protocol, TypeVar


class Candidate(Protocol):
    """What choice looks at; `in_flight_count` counts requests, `last_used` is seconds of the chooser's clock."""

    @property
    def replica_id(self) -> str: ...
    @property
    def in_flight_count(self) -> int: ...
    @property
    def last_used(self) -> float: ...
    @property
    def free_memory_bytes(self) -> int: ...


C = TypeVar("C", bound=Candidate)

# More than any replica has in flight: what is full comes after everything that is not.
_FULL = 1 << 32


@dataclass(frozen=True, slots=True)
class Choice(Generic[C]):
    """The replica to use and the one to fall back on, which is never the same."""

    primary: C
    fallback: C | None


def choose(
    candidates: Sequence[C],
    chooser: str,
    *,
    preferred: C | None = None,
    slots: Callable[[C], int] | None = None,
) -> Choice[C] | None:
    """Pick a primary and a fallback for `chooser`, a gateway's identity; None where there is no candidate.

    `preferred` is one of the candidates that something else speaks for, such as a warm prefix. With `slots`, the
    requests that a replica works on at once, those with a free slot come before those without.
    """
    if len(candidates) < 2:
        return Choice(candidates[0], None) if candidates else None
    if preferred is not None:
        others = [c for c in candidates if c is not preferred]
        return Choice(preferred, _first(others, _loads(others, slots), 0, chooser))
    return _first_two(candidates, _loads(candidates, slots), 0, chooser)


def _loads(candidates: Sequence[C], slots: Callable[[C], int] | None) -> list[float]:
    loads: list[float] = [c.in_flight_count for c in candidates]
    if slots is None:
        return loads
    return [n if n < slots(c) else n + _FULL for c, n in zip(candidates, loads, strict=True)]


def _first_two(candidates: Sequence[C], ranks: list[float], level: int, chooser: str) -> Choice[C]:
    """The best two by `ranks`, and among equals by what comes at the next level."""
    low = min(ranks)
    if ranks.count(low) > 1:
        equals = _equals(candidates, ranks, low)
        return _first_two(equals, _ranks(equals, level + 1, chooser), level + 1, chooser)
    first = ranks.index(low)
    del ranks[first]
    others = [*candidates[:first], *candidates[first + 1 :]]
    return Choice(candidates[first], _first(others, ranks, level, chooser))


def _first(candidates: Sequence[C], ranks: list[float], level: int, chooser: str) -> C:
    low = min(ranks)
    if ranks.count(low) > 1:
        equals = _equals(candidates, ranks, low)
        return _first(equals, _ranks(equals, level + 1, chooser), level + 1, chooser)
    return candidates[ranks.index(low)]


def _equals(candidates: Sequence[C], ranks: list[float], low: float) -> Sequence[C]:
    if ranks.count(low) == len(ranks):
        return candidates
    return list(compress(candidates, map(eq, ranks, repeat(low))))


def _ranks(equals: Sequence[C], level: int, chooser: str) -> list[float]:
    """What parts candidates that are equal so far: how long unused, how much memory, whose turn, then the name."""
    if level == 1:
        return [c.last_used for c in equals]
    if level == 2:
        return [-c.free_memory_bytes for c in equals]
    if level == 3:
        return [zlib.crc32(f"{chooser}/{c.replica_id}".encode()) for c in equals]
    order = sorted(range(len(equals)), key=lambda i: equals[i].replica_id)
    return [float(order.index(i)) for i in range(len(equals))]
