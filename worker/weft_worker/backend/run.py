"""One generation between the engine that makes it and the client that takes it: neither waits for the other."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from weft_common.errors import WeftError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of an answer by failure."""

    error: WeftError


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing came for a while: the client is to hear, in its dialect's notation, that the answer still does."""


class Run(Generic[T]):
    """One producer, one consumer, on one loop; state: what nobody has taken yet, and whether and how it ended.

    Without a bound of its own: a generation ends with the slot's context, and tokens are small.
    """

    def __init__(self, news: asyncio.Event) -> None:
        """`news` is set whenever there is something to take, or the end; several runs may share one."""
        self._events: deque[T | Failed] = deque()
        self._ended = False
        self._news = news

    def put(self, event: T) -> None:
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

    @property
    def is_over(self) -> bool:
        """Whether everything was taken, and nothing more comes."""
        return self._ended and not self._events

    def take(self) -> T | Failed | None:
        """The next event, or None where there is none yet, or none any more."""
        return self._events.popleft() if self._events else None
