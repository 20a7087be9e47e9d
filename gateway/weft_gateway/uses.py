"""When replicas were last in use, and how long requests wished them to stay, by the reports of workers."""

from dataclasses import dataclass

from weft_common.clock import Clock
from weft_proto.pb.weft.bus.v1 import reports_pb2

_UNKNOWN = -1
# Replicas that nobody told of for so long are gone; they are looked for whenever there are twice as many as then.
_FORGET_SECONDS = 60.0
_LEAST_LOOK = 1024


@dataclass(slots=True)
class Use:
    """Of one replica; state: all of it. When it was used and told of, by the clock; `keep_alive` in seconds or None."""

    moment: float
    told: float
    started_count: int = _UNKNOWN
    keep_alive: float | None = None


class Uses:
    """State: `_uses` by replica, and `_look`, how many there may be before it is time to forget.

    What is idle since before this process began counts as used when it was first told of.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._uses: dict[str, Use] = {}
        self._look = _LEAST_LOOK

    def hear(self, report: reports_pb2.LoadReport) -> None:
        """Take what a worker tells; every replica of the fleet is in one of these each second."""
        now = self._clock.monotonic()
        for entry in report.replicas:
            use = self._uses.get(entry.replica_id)
            if use is None:
                use = self._uses[entry.replica_id] = Use(now, now)
            use.told = now
            started = entry.started_count
            if started != use.started_count or entry.in_flight_count or entry.queued_count:
                use.moment, use.started_count = now, started
            use.keep_alive = (
                entry.keep_alive.ToMilliseconds() / 1000 if entry.HasField("keep_alive") else None
            )
        for replica_id in report.gone_replica_ids:
            self._uses.pop(replica_id, None)
        if len(self._uses) > self._look:
            self._forget(now - _FORGET_SECONDS)

    def of(self, replica_id: str) -> Use:
        """What is known of a replica; one of which nobody told counts as used just now."""
        now = self._clock.monotonic()
        return self._uses.get(replica_id) or Use(now, now)

    def _forget(self, before: float) -> None:
        self._uses = {replica_id: use for replica_id, use in self._uses.items() if use.told >= before}
        self._look = max(_LEAST_LOOK, 2 * len(self._uses))
