"""Keeps two threads of the library on one processor while tokens come fast.

One computes; the other looks for news meanwhile, and each waits for the other at every token. The kernel wakes the one
that waits on an idle processor, which has to be called out of its sleep first: on virtual machines that takes up to
50 µs, twice a token, and a token of a tiny model takes 300. Side by side they only take turns.
"""

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress

from weft_worker.native_threads import NativeThreads, Use

_logger = logging.getLogger(__name__)
_LOOK_SECONDS = 0.02
# Two looks further apart than this are hardly of one answer.
_BURST_SECONDS = 0.1
# Between two looks each of the two gets a processor at least as often, and computes so many times as long.
_LEAST_TURNS = 10
_LEAST_RATIO = 4.0
_MOST_TRIES = 50
# A share of the time: others want this processor too, and the kernel shall choose anew.
_MOST_WAITED = 0.1


class Pair:
    """The two of one model; state: how many generate, the last look, and the two once they are known.

    Entered and left on the event loop; looked at by the threads that carry tokens, one at a time.
    """

    def __init__(self, threads: NativeThreads, *, is_one: bool = True) -> None:
        """`is_one`: that one thread computes, and not several that wait for each other anyway."""
        self._threads = threads
        self._lock = threading.Lock()
        self._user_count = 0
        self._looked = float("-inf")
        self._uses: Mapping[int, Use] = {}
        self._tries_left = _MOST_TRIES if is_one else 0
        self._found: tuple[int, int] | None = None
        self._is_kept = False

    def enter(self) -> None:
        """Somebody generates."""
        self._user_count += 1

    def leave(self) -> None:
        """Somebody generates no more; after the last one the kernel may choose freely again."""
        self._user_count -= 1
        if self._user_count == 0:
            with self._lock:
                self._free()

    def look(self, now: float) -> None:
        """See to the two, while tokens come fast; may be called at each, in monotonic seconds."""
        if (
            now - self._looked < _LOOK_SECONDS
            or not self._tries_left
            or not self._lock.acquire(blocking=False)
        ):
            return
        try:
            self._see(now)
        except OSError as error:  # a kernel that does not tell, or does not let us
            _logger.debug("threads_not_paired", extra={"cause": str(error)})
            self._tries_left = 0
            self._free()
        finally:
            self._lock.release()

    def _see(self, now: float) -> None:
        seconds, self._looked = now - self._looked, now
        if self._found is None:
            earlier, self._uses = self._uses, self._threads.uses()
            self._tries_left -= 1
            self._found = pair_of(earlier, self._uses) if seconds < _BURST_SECONDS else None
        elif self._is_kept:
            self._keep_or_free(self._found, seconds)
        else:
            self._keep(self._found)

    def _keep(self, pair: tuple[int, int]) -> None:
        """Where the one that computes is now."""
        self._threads.keep(pair, self._threads.processor(pair[0]))
        self._uses = {pair[0]: self._threads.use(pair[0])}
        self._is_kept = True

    def _keep_or_free(self, pair: tuple[int, int], seconds: float) -> None:
        use = self._threads.use(pair[0])
        waited_seconds = use.since(self._uses[pair[0]]).waited_seconds
        self._uses = {pair[0]: use}
        if waited_seconds > _MOST_WAITED * seconds:
            self._free()

    def _free(self) -> None:
        if self._found is not None and self._is_kept:
            self._is_kept = False
            with suppress(OSError):
                self._threads.keep(self._found, None)


def pair_of(earlier: Mapping[int, Use], later: Mapping[int, Use]) -> tuple[int, int] | None:
    """Tell who computes and who waits with it, by what they had between two looks; None where that is not plain."""
    had = {thread: later[thread].since(earlier[thread]) for thread in earlier.keys() & later.keys()}
    awake = [thread for thread, use in had.items() if use.turn_count >= _LEAST_TURNS]
    if len(awake) != 2:
        return None
    other, computing = sorted(awake, key=lambda thread: had[thread].ran_seconds)
    ratio = had[computing].ran_seconds / max(had[other].ran_seconds, 1e-9)
    return (computing, other) if ratio >= _LEAST_RATIO else None
