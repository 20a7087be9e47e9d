"""What a backend process may do, by how long its agent has been gone."""

from dataclasses import dataclass
from enum import Enum, auto


class Standing(Enum):
    """How things stand between a backend process and its agent."""

    HELD = auto()
    """The agent is there, or was a moment ago: work is taken."""
    EXPIRED = auto()
    """New work is refused; streams finish."""
    ORPHANED = auto()
    """The process ends itself."""


@dataclass(frozen=True, slots=True)
class LeaseClock:
    """Times in monotonic seconds; each event gives a new value. A process begins without its agent."""

    lease_seconds: float
    orphan_seconds: float
    lost: float
    accepted: bool = False

    def accept(self) -> "LeaseClock":
        """The agent took us for one of its own; a connection alone proves that somebody listens, or once did."""
        return LeaseClock(self.lease_seconds, self.orphan_seconds, self.lost, accepted=True)

    def disconnect(self, now: float) -> "LeaseClock":
        """The connection ended."""
        return LeaseClock(self.lease_seconds, self.orphan_seconds, now if self.accepted else self.lost)

    def standing(self, now: float) -> Standing:
        """Judge."""
        gone_seconds = now - self.lost
        if self.accepted or gone_seconds < min(self.lease_seconds, self.orphan_seconds):
            return Standing.HELD
        return Standing.EXPIRED if gone_seconds < self.orphan_seconds else Standing.ORPHANED
