"""Which ready replica serves a request; pure, and shared by everybody who chooses.

Order (design §4): in flight ascending, last used ascending (oldest first), free memory descending. What is equal then
is ordered by a hash with the chooser's name, so that several gateways do not all prefer the same replica. Each
criterion is asked only of those that all earlier ones left equal: mostly that is one look at each replica.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    loads = [c.in_flight_count for c in candidates]
    if slots is not None:
        loads = [n if n < slots(c) else n + _FULL for c, n in zip(candidates, loads, strict=True)]
    if preferred is not None:
        rest = [(n, c) for c, n in zip(candidates, loads, strict=True) if c is not preferred]
        return Choice(preferred, _rested(_least([c for _, c in rest], [n for n, _ in rest]), chooser))
    first = _least(candidates, loads)
    primary = _rested(first, chooser)
    if len(first) > 1:
        return Choice(primary, _rested([c for c in first if c is not primary], chooser))
    low = min(loads)
    return Choice(
        primary, _rested(_least(candidates, [_FULL * 2 if n == low else n for n in loads]), chooser)
    )


def _rested(equals: Sequence[C], chooser: str) -> C:
    """Of equally busy candidates the longest unused, then the one with the most memory, then the chooser's turn."""
    if len(equals) > 1:
        equals = _least(equals, [c.last_used for c in equals])
    if len(equals) > 1:
        equals = _least(equals, [-c.free_memory_bytes for c in equals])
    if len(equals) > 1:
        return min(equals, key=lambda c: (_turn(chooser, c.replica_id), c.replica_id))
    return equals[0]


def _least(candidates: Sequence[C], ranks: Sequence[float]) -> list[C]:
    """Candidates whose rank nobody is below."""
    low = min(ranks)
    return [c for c, rank in zip(candidates, ranks, strict=True) if rank == low]


def _turn(chooser: str, replica_id: str) -> int:
    return zlib.crc32(f"{chooser}/{replica_id}".encode())
