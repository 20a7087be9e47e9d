"""Which ready replica serves a request; pure, and shared by everybody who chooses.

Order (design §4): in flight ascending, last used ascending (oldest first), free memory descending. What is equal then
is ordered by a hash with the chooser's name, so that several gateways do not all prefer the same replica.
"""

import zlib
from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Choice(Generic[C]):
    """The replica to use and the one to fall back on, which is never the same."""

    primary: C
    fallback: C | None


def choose(candidates: Sequence[C], chooser: str) -> Choice[C] | None:
    """Pick a primary and a fallback for `chooser`, a gateway's identity; None where there is no candidate."""
    if not candidates:
        return None
    if len(candidates) == 1:
        return Choice(candidates[0], None)
    keyed = [
        (c.in_flight_count, c.last_used, -c.free_memory_bytes, _turn(chooser, c.replica_id), c)
        for c in candidates
    ]
    first = min(keyed, key=_order)
    second = min((k for k in keyed if k is not first), key=_order)
    return Choice(first[-1], second[-1])


def _order(keyed: tuple[int, float, int, int, object]) -> tuple[int, float, int, int]:
    return keyed[:4]


def _turn(chooser: str, replica_id: str) -> int:
    return zlib.crc32(f"{chooser}/{replica_id}".encode())
