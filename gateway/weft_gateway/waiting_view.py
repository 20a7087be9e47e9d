"""For which models somebody waits at routers, as these tell on the bus: nobody passes a queue that he can know of."""

from weft_common.clock import Clock
from weft_proto.pb.weft.bus.v1 import reports_pb2

# A router that tells nothing for so long has nobody waiting, or is gone.
_FRESH_SECONDS = 3.0


class WaitingView:
    """State: `_told`, the latest word of each router and when it came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, frozenset[str]]] = {}

    def take(self, report: reports_pb2.WaitingReport) -> None:
        """Take a router's word."""
        now = self._clock.monotonic()
        self._told = {i: told for i, told in self._told.items() if now - told[0] <= _FRESH_SECONDS}
        models = frozenset(queue.model for queue in report.queues if queue.waiting_count)
        if models:
            self._told[report.router_id] = (now, models)
        else:
            self._told.pop(report.router_id, None)

    def is_waited_for(self, model: str) -> bool:
        """Whether requests for a model wait at a router."""
        if not self._told:
            return False
        oldest = self._clock.monotonic() - _FRESH_SECONDS
        return any(time >= oldest and model in models for time, models in self._told.values())
