"""When the thread that carries the tokens of a fast answer may sleep for a moment, so that several gather.

The library wakes all threads that wait for a token with each token of any of them: for small models that costs as much
as the tokens do. Whoever sleeps elsewhere is not woken, and finds what has gathered without waiting for it.
"""

import threading

# Tokens that gather during one rest; an answer that ends by itself meanwhile is told that much later, by half of it on
# average.
_ITEM_COUNT = 8
_MAX_SECONDS = 0.01
# What comes this soon had come before the thread asked for it.
_AT_ONCE_SECONDS = 50e-6
# So many had to be waited for, one after the other: then nothing is left that had gathered. A single one proves
# nothing, as the thread may have waited for the interpreter's lock instead.
_WAITED_COUNT = 2
# What comes more slowly than this is worth being woken for.
_SLOW_SECONDS = 0.005


class Rests:
    """Of one answer; state: how many items have come, since when and for how many in a row the thread has waited, and
    when it last left.

    Belongs to the thread; `begin` and `end` are called by others. Times in monotonic seconds.
    """

    def __init__(self, now: float, most: int | None = None) -> None:
        """`most` items will come, if that is known: nobody rests beyond the last one."""
        self._most = most
        self._count = 0
        self._left = self._since = now
        self._waited_count = 0
        self._begun = False
        self._awake = threading.Lock()
        self._awake.acquire()
        self._ended = False

    def begin(self) -> None:
        """Permit rests: the first token has gone out."""
        self._begun = True

    def end(self) -> None:
        """Wake the thread, and let it rest no more."""
        if not self._ended:
            self._ended = True
            self._awake.release()

    def due(self, came: float) -> float:
        """Note that an item came, and tell for how many seconds the thread may sleep now; mostly 0."""
        self._count += 1
        waited_seconds = came - self._left
        if waited_seconds < _AT_ONCE_SECONDS:
            self._waited_count = 0
            return 0.0
        if not self._waited_count:
            self._since = self._left
        self._waited_count += 1
        if self._waited_count < _WAITED_COUNT:
            return 0.0
        each_seconds = (came - self._since) / self._waited_count
        self._waited_count = 0
        if not self._begun or each_seconds > _SLOW_SECONDS:
            return 0.0
        count = _ITEM_COUNT if self._most is None else min(_ITEM_COUNT, self._most - self._count - 1)
        return min(max(0, count) * each_seconds, _MAX_SECONDS)

    def sleep(self, seconds: float) -> None:
        """Rest for so long, or until `end`."""
        if not self._ended and self._awake.acquire(timeout=seconds):
            self._awake.release()

    def leave(self, now: float) -> None:
        """Note that the thread waits for the next item from here on."""
        self._left = now
