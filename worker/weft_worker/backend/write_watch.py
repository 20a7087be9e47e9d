"""Notices a client that takes nothing of its answer, and ends its call."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from weft_common.errors import DeadlineExceeded
from weft_common.rpc import CallContext

# A timer that looks now and then: one for each token would be set and cleared for every token.
_LOOKS = 4
_logger = logging.getLogger(__name__)


class WriteWatch:
    """Belongs to the task that opened it; state: whether that task writes, how many writes ended, what was seen."""

    def __init__(self, limit_seconds: float, call: CallContext) -> None:
        self._call = call
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._step_seconds = limit_seconds / _LOOKS
        self._writing = False
        self._written_count = 0
        self._seen_count = -1
        self._looks = 0
        self._timer = self._loop.call_later(self._step_seconds, self._look)

    def begin(self) -> None:
        """A write begins."""
        self._writing = True

    def end(self) -> None:
        """The client took it."""
        self._writing = False
        self._written_count += 1

    def close(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _look(self) -> None:
        if not self._writing or self._written_count != self._seen_count:
            self._seen_count = self._written_count if self._writing else -1
            self._looks = 0
        else:
            self._looks += 1
        if self._looks == _LOOKS and self._task is not None:
            stalled_seconds = _LOOKS * self._step_seconds
            _logger.warning("client_stalled", extra={"stalled_seconds": stalled_seconds})
            self._call.cut_by = DeadlineExceeded(
                f"Nothing of the answer was taken for {stalled_seconds:g} s."
            )
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(self._step_seconds, self._look)


@contextmanager
def write_watch(limit_seconds: float, call: CallContext) -> Iterator[WriteWatch]:
    """Cut the call of the current task if one write takes longer than the limit, by a quarter of it at most."""
    watch = WriteWatch(limit_seconds, call)
    try:
        yield watch
    finally:
        watch.close()
