"""What a backend process may do, by how long its agent has been gone."""

from dataclasses import dataclass
from enum import Enum, auto

# A connection that ends sooner was refused: it proves that somebody listens, not that we are wanted.
_PROVEN_SECONDS = 1.0


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
    connected: float | None = None

    def connect(self, now: float) -> "LeaseClock":
        """The agent took our connection."""
        return LeaseClock(self.lease_seconds, self.orphan_seconds, self.lost, now)

    def disconnect(self, now: float) -> "LeaseClock":
        """The connection ended."""
        proven = self.connected is not None and now - self.connected >= _PROVEN_SECONDS
        return LeaseClock(self.lease_seconds, self.orphan_seconds, now if proven else self.lost)

    def standing(self, now: float) -> Standing:
        """Judge."""
        gone_seconds = now - self.lost
        if self.connected is not None or gone_seconds < min(self.lease_seconds, self.orphan_seconds):
            return Standing.HELD
        return Standing.EXPIRED if gone_seconds < self.orphan_seconds else Standing.ORPHANED
