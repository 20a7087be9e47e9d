"""First come, first served on this gateway's own view: the queue for the time in which no router answers.

It knows nothing of other gateways' requests but by load reports, and of fairness nothing: it keeps what is left of a
Weft without routers in order.
"""

import asyncio
import heapq
import itertools
from dataclasses import dataclass, field
from datetime import timedelta

from weft_common.choice import choose
from weft_common.clock import Clock
from weft_common.errors import QueueFull
from weft_gateway.fleet_view import FleetView
from weft_gateway.slot import Slot

# Of the time between two slots that were handed out, for each further one.
_KEEP = 0.8
_UNKNOWN_SECONDS = 1.0
_FEW = 64


@dataclass(slots=True)
class _Line:
    """Those who wait for one model; state: all of it. `pace` is seconds between two slots.

    `places` is a heap, by place and then by coming; whoever leaves stays in it, done, and `count` counts the others.
    """

    places: list[tuple[int, int, asyncio.Future[Slot]]] = field(default_factory=list)
    count: int = 0
    pace: float | None = None
    served: float | None = None


class LocalQueue:
    """State: `_lines` by model, of those that somebody has waited for, and `_count` of all who wait."""

    def __init__(self, view: FleetView, clock: Clock, limit: int) -> None:
        self._view = view
        self._clock = clock
        self._limit = limit
        self._lines: dict[str, _Line] = {}
        self._numbers = itertools.count(1)
        self._comings = itertools.count(1)
        self._count = 0

    @property
    def waiting_count(self) -> int:
        """Requests that wait here."""
        return self._count

    def number(self) -> int:
        """A place in the order of arrival, to be kept by whoever comes again."""
        return next(self._numbers)

    async def wait(self, model: str, number: int, seconds: float) -> Slot | None:
        """Wait for a slot for so long; None where there was none. Raises QueueFull."""
        if self._count >= self._limit:
            raise QueueFull(
                f"{self._count} requests wait here already, and no router hands out slots; try again later.",
                retry_after=self.forecast(model),
                metadata={"part": "router"},
            )
        answer: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(model, _Line())
        heapq.heappush(line.places, (number, next(self._comings), answer))
        line.count += 1
        self._count += 1
        try:
            self.stir(model)
            async with asyncio.timeout(max(0.0, seconds)):
                return await asyncio.shield(answer)
        except TimeoutError:
            return answer.result() if answer.done() else None
        except asyncio.CancelledError:
            if answer.done():
                slot = answer.result()
                slot.choice.primary.load.take_back(int(slot.pick.rpartition("/")[2]))
            raise
        finally:
            self._leave(line, answer)

    def stir(self, model: str) -> None:
        """Hand out what is free."""
        line = self._lines.get(model)
        if line is None or not line.count:
            return
        targets = self._view.targets(model) or self._view.silent_targets(model)
        while line.places and any(not target.is_full for target in targets):
            answer = heapq.heappop(line.places)[-1]
            if answer.done():
                continue
            choice = choose(targets, self._view.gateway_id, slots=lambda target: target.limit)
            assert choice is not None, "there is a free target"
            number = choice.primary.load.pick(self._clock.monotonic())
            answer.set_result(Slot(choice, f"{self._view.gateway_id}/{number}"))
            self._measure(line)

    def stir_all(self) -> None:
        """Hand out what is free of every model that somebody waits for."""
        for model in list(self._lines):
            self.stir(model)

    def forecast(self, model: str) -> timedelta:
        """How long a newcomer is likely to wait."""
        line = self._lines.get(model)
        pace = line.pace if line else None
        count = line.count if line else 0
        return timedelta(seconds=_UNKNOWN_SECONDS if pace is None else max(0.001, (count + 1) * pace))

    def _measure(self, line: _Line) -> None:
        now = self._clock.monotonic()
        if line.served is not None:
            latest = now - line.served
            line.pace = latest if line.pace is None else _KEEP * line.pace + (1 - _KEEP) * latest
        line.served = now

    def _leave(self, line: _Line, answer: asyncio.Future[Slot]) -> None:
        self._count -= 1
        line.count -= 1
        answer.cancel()
        if len(line.places) > _FEW + 2 * line.count:
            # Seldom enough that it costs nothing for each of those who left.
            line.places = [place for place in line.places if not place[-1].done()]
            heapq.heapify(line.places)
