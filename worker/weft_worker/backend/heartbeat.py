"""Tells when a stream has been silent for so long that its client is to hear that the answer still comes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Heartbeat:
    """State: when something was told last, and whether a beat is due.

    One timer for the whole stream: one for each token would be set and cleared for every token.
    """

    def __init__(self, seconds: float | None, news: asyncio.Event) -> None:
        """Without `seconds` nothing is ever due."""
        self._seconds = seconds or 0.0
        self._news = news
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._is_due = False
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._look)

    def told(self) -> None:
        """Something was told just now."""
        self._last = self._loop.time()
        self._is_due = False

    @property
    def is_due(self) -> bool:
        """Whether nothing was told for too long."""
        return self._is_due

    def close(self) -> None:
        """Beat no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        left = self._last + self._seconds - self._loop.time()
        if left <= 0:
            self._is_due = True
            self._news.set()
            left = self._seconds
        self._timer = self._loop.call_later(left, self._look)


@contextmanager
def heartbeat(seconds: float | None, news: asyncio.Event) -> Iterator[Heartbeat]:
    """Set `news` each time when nothing was told for so long; None is for ever."""
    beats = Heartbeat(seconds, news)
    try:
        yield beats
    finally:
        beats.close()
