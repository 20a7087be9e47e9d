"""How busy a replica is, as whoever sends it requests knows it: its last report plus own picks that none has covered.

Nothing is ever released over the network, so no count can leak: a report that covers a pick replaces it, and a pick
that no report covers (its client left before Envoy connected, say) goes by age once reports flow again. One that falls
mute while others report keeps what it had: it hangs, most likely, and what was sent there is there still.
"""

from collections.abc import Iterable, KeysView
from dataclasses import dataclass, field

from weft_common.report_flow import BUSY_STALE_SECONDS, MUTE_SECONDS, STALE_SECONDS, NodeFlow

# Without reports nothing tells when a pick has ended; older ones say little about the present.
_FORGET_SECONDS = 60.0
_MAX_PICKS = 16_384


@dataclass(slots=True)
class LoadView:
    """State of one replica's load; times are seconds of its owner's monotonic clock.

    Without the `flow` of its node nobody knows whether others report, and missing reports say nothing.
    """

    flow: NodeFlow | None = None
    last_used: float = 0.0
    _next_pick: int = 1
    _uncovered: dict[int, float] = field(default_factory=dict)
    _reported_count: int = 0
    _report_time: float = float("-inf")
    _resumed_time: float = float("-inf")

    def pick(self, now: float) -> int:
        """Count a request that is about to be sent; returns its number, which travels with it."""
        number = self._next_pick
        self._next_pick += 1
        if len(self._uncovered) >= _MAX_PICKS:
            del self._uncovered[next(iter(self._uncovered))]
        self._uncovered[number] = now
        self.last_used = now
        return number

    @property
    def latest_pick(self) -> int:
        """The number of the last pick; 0 before the first."""
        return self._next_pick - 1

    def take_back(self, number: int) -> None:
        """Forget a pick that will never reach the replica."""
        self._uncovered.pop(number, None)

    def forget_picks(self, before: float) -> None:
        """Take own picks that are older than a moment as ended."""
        while self._uncovered and next(iter(self._uncovered.values())) < before:
            del self._uncovered[next(iter(self._uncovered))]

    @property
    def uncovered(self) -> KeysView[int]:
        """Own picks that no report has covered, oldest first."""
        return self._uncovered.keys()

    def is_blind(self, now: float) -> bool:
        """Whether picks go uncovered for want of reports (the bus is down, say): then nobody knows how busy it is."""
        if not self._is_stale(now) or not self._uncovered:
            return False
        since = self._flow_since(now)
        if since is not None and now - since > STALE_SECONDS:
            return False
        return now - next(iter(self._uncovered.values())) > self._patience

    def is_unheard(self, now: float) -> bool:
        """Whether its reports have ceased together with everybody's."""
        return self._report_time > float("-inf") and self._is_stale(now) and self._flow_since(now) is None

    def is_mute(self, now: float) -> bool:
        """Whether it has said nothing for a while, or covers no pick, although others report."""
        if now - self._report_time <= MUTE_SECONDS:
            return False
        # Idle agents report every second only; in between, one that hangs must not seem well.
        since = self.flow.since(now) if self.flow is not None else None
        if since is None or self.flow is None:
            return False
        last = self._report_time
        if last == float("-inf"):  # new, perhaps to us only
            last = next(iter(self._uncovered.values()), now)
        # What an agent was told while the bus was down is in its first report.
        return now - max(since, last) > MUTE_SECONDS or self.flow.reported - last > MUTE_SECONDS

    def is_silent_since(self, moment: float, now: float) -> bool:
        """Whether it has said nothing since then, although reports come."""
        return self._report_time <= moment and self._flow_since(now) is not None

    def report(self, busy_count: int, contiguous: int, beyond: Iterable[int], now: float) -> None:
        """Take a report: requests at the replica, in flight and queued, and which of our picks it has seen."""
        if now - self._report_time > STALE_SECONDS:
            self._resumed_time = now
        self._reported_count, self._report_time = busy_count, now
        seen = set(beyond)
        flowing = now - self._resumed_time >= STALE_SECONDS
        self._uncovered = {
            number: time
            for number, time in self._uncovered.items()
            if number > contiguous and number not in seen and not (flowing and now - time > STALE_SECONDS)
        }

    def in_flight_count(self, now: float) -> int:
        """Requests that are there or on their way; own picks alone while reports are missing everywhere."""
        if not self._is_stale(now) or self._says_nothing_alone(now):
            return self._reported_count + len(self._uncovered)
        self.forget_picks(now - _FORGET_SECONDS)
        return len(self._uncovered)

    @property
    def _patience(self) -> float:
        """For how many seconds its agent may say nothing: less while it has something to do."""
        is_busy = bool(self._reported_count or self._uncovered) and self.flow is not None
        return BUSY_STALE_SECONDS if is_busy else STALE_SECONDS

    def _is_stale(self, now: float) -> bool:
        """Whether its last report tells nothing any more: it is old itself, or its agent is silent."""
        if self.flow is None or now - self._report_time > STALE_SECONDS:
            return now - self._report_time > STALE_SECONDS
        last = max(self._report_time, self.flow.reported)
        if not self._reported_count:  # then its agent has had something to tell since the first of these only
            last = max(last, next(iter(self._uncovered.values()), last))
        return now - last > self._patience

    def _says_nothing_alone(self, now: float) -> bool:
        """Whether reports of others have come without a gap since its last one."""
        since = self._flow_since(now)
        return since is not None and since <= self._report_time

    def _flow_since(self, now: float) -> float | None:
        return self.flow.since(now, self._patience) if self.flow is not None else None
