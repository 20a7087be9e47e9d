"""Whether the engine gets anywhere: a stuck one has a process that answers health checks, and gives nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from weft_common.clock import Clock


class EngineProgress:
    """State: when each request that is worked on began or got its last token, by the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = count()
        self._moved: dict[int, float] = {}

    @contextmanager
    def work(self) -> Iterator[Callable[[], None]]:
        """Watch over one request; the block calls what it is given whenever the engine has given it something."""
        number = next(self._numbers)

        def moved() -> None:
            self._moved[number] = self._clock.monotonic()

        moved()
        try:
            yield moved
        finally:
            del self._moved[number]

    @property
    def stalled_seconds(self) -> float | None:
        """For how long the request that is served worst has had nothing; None without any request."""
        return self._since(min(self._moved.values(), default=None))

    @property
    def stuck_seconds(self) -> float | None:
        """For how long no request at all has had anything; None without any request."""
        return self._since(max(self._moved.values(), default=None))

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None else self._clock.monotonic() - moment
