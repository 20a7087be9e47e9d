"""Time as a collaborator, so that policy and tests never read the machine's clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """What Weft needs to know about time."""

    def monotonic(self) -> float:
        """Seconds that only ever rise; for durations."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 UTC; for what leaves the process."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 (this is the one door to it)

    def wall(self) -> float:
        return time.time()  # noqa: TID251 (this is the one door to it)


class ManualClock:
    """A clock that moves when told to; state: `now`."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
