"""A request's deadline: ends waits for slots and engines, and never the writing of what they gave."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from weft_common.errors import DeadlineExceeded

METADATA_KEY = "x-weft-deadline"
P = ParamSpec("P")
T = TypeVar("T")
_MAX_DIGITS = 16


class Deadline:
    """Belongs to the task that opened it; state: whether time is up, and whether the task waits inside `within`.

    One timer a request: asyncio.timeout around each token would set and clear one for every token, and around
    the whole stream it would also cut off a write, and with it the event that tells the client why.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._waiting = False
        self._passed = False

    async def within(self, wait: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Wait for `wait(...)`, and raise DeadlineExceeded once time is up."""
        if self._passed:
            raise _exceeded()
        self._waiting = True
        try:
            return await wait(*args, **kwargs)
        except asyncio.CancelledError:
            if self._passed and self._task is not None and self._task.uncancel() == 0:
                raise _exceeded() from None
            raise
        finally:
            self._waiting = False

    def pass_now(self) -> None:
        """Time is up."""
        self._passed = True
        if self._waiting and self._task is not None:
            self._task.cancel()


@contextmanager
def deadline_after(seconds: float | None) -> Iterator[Deadline]:
    """Open a deadline for the current task; None is for ever."""
    deadline = Deadline()
    if seconds is None:
        yield deadline
        return
    timer = asyncio.get_running_loop().call_later(max(0.0, seconds), deadline.pass_now)
    try:
        yield deadline
    finally:
        timer.cancel()


def seconds_left(text: str | None, now: float) -> float | None:
    """Read `x-weft-deadline`, in milliseconds since 1970; one that cannot be read is none."""
    if not text or not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        return None
    return int(text) / 1000 - now


def _exceeded() -> DeadlineExceeded:
    return DeadlineExceeded("The request's deadline passed before the answer was complete.")
