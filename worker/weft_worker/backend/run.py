"""One generation between the engine that makes it and the client that takes it: neither waits for the other."""

import asyncio
from collections import deque
from dataclasses import dataclass

from weft_common.errors import WeftError
from weft_worker.engines.base import Delta, Finished


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of an answer by failure."""

    error: WeftError


class Run:
    """One producer, one consumer, on one loop; state: what nobody has taken yet, and whether and how it ended.

    Without a bound of its own: a generation ends with the slot's context, and tokens are small.
    """

    def __init__(self) -> None:
        self._events: deque[Delta | Finished | Failed] = deque()
        self._ended = False
        self._news = asyncio.Event()

    def put(self, event: Delta | Finished) -> None:
        """Add what the engine gave; nothing is added after the end."""
        if not self._ended:
            self._events.append(event)
            self._news.set()

    def end(self, failure: WeftError | None = None) -> None:
        """Nothing more comes; the first end counts, and what came before it is still there to be taken."""
        if not self._ended:
            self._ended = True
            if failure is not None:
                self._events.append(Failed(failure))
            self._news.set()

    async def take(self) -> Delta | Finished | Failed | None:
        """Wait for the next event, or for None at the end; no deadline, since the work that puts has one."""
        while not self._events:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()
