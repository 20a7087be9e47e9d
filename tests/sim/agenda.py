"""Virtual time: what shall happen when, in an order that only the seed decides."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

Action = Callable[..., None]


@dataclass(slots=True)
class Agenda:
    """Events by time, equal ones in the order in which they were entered; state: everything."""

    now: float = 0.0
    done_count: int = 0
    _events: list[tuple[float, int, Action, tuple[Any, ...]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def after(self, seconds: float, action: Action, *arguments: Any) -> None:
        """Have `action` happen so many seconds from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), action, arguments))

    def run_until(self, end: float) -> None:
        """Let everything happen that is due by then."""
        events = self._events
        while events and events[0][0] <= end:
            self.now, _, action, arguments = heapq.heappop(events)
            self.done_count += 1
            action(*arguments)
        self.now = end
