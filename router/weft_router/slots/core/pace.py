"""How long a slot is held, and what follows from that: how far ahead to hand out, when to come back."""

import math
from dataclasses import dataclass

# Weight of what was known before, for each further request that is measured.
_KEEP = 0.8
# From the end of a request until the next one is at the replica: the report (at most every 20 ms), the bus, the answer
# to the gateway, Envoy.
TURN_AROUND_SECONDS = 0.05
# A slot that is empty for a smaller share of the time than this is not worth a request that waits out of order.
_IDLE_SHARE = 0.02


@dataclass(slots=True)
class Mean:
    """A mean that forgets; state: `value`, None before anything was measured."""

    value: float | None = None

    def add(self, total: float, count: int) -> None:
        """Take `count` more measurements, which make `total` together."""
        if count <= 0:
            return
        latest = total / count
        keep = _KEEP**count
        self.value = latest if self.value is None else keep * self.value + (1 - keep) * latest


def ahead_count(slot_count: int, service_seconds: float | None, max_queue_count: int) -> int:
    """Requests to hand to a replica beyond its slots, so that no slot is empty while its end is being told.

    Little's law: with `slot_count` slots of `service_seconds` each, `slot_count / service_seconds` requests end in a
    second, hence as many as end within the turn-around must be there already. Where service takes so long that the
    turn-around is nothing beside it, none is: whoever is handed out can no longer be overtaken by a fairer claim. For
    the same reason never more than a second round of slots, since the next requests may be longer than the last ones.
    """
    if not service_seconds or TURN_AROUND_SECONDS / service_seconds < _IDLE_SHARE:
        return 0
    return min(max_queue_count, slot_count, math.ceil(slot_count * TURN_AROUND_SECONDS / service_seconds))
