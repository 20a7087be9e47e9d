"""Nodes that nobody has heard from lately: they get no model, long before their state changes."""

from weft_common.clock import Clock
from weft_router.fleet.fleet import Fleet


class Silence:
    """Tells who is silent; a router that has just started gives everybody the benefit of the doubt."""

    def __init__(self, *, fleet: Fleet, clock: Clock, seconds: float) -> None:
        self._fleet = fleet
        self._clock = clock
        self._seconds = seconds
        self._start_time = clock.monotonic()

    def nodes(self) -> frozenset[str]:
        """The silent nodes, by id."""
        oldest = self._clock.monotonic() - self._seconds
        heard, start = self._fleet.heard, self._start_time
        return frozenset(i for i in self._fleet.nodes if heard.get(i, start) < oldest)
