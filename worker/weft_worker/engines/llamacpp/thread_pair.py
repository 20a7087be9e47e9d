"""Keeps two threads of the library on one processor while tokens come fast.

One computes; the other looks for news meanwhile, and each waits for the other at every token. The kernel wakes the one
that waits on an idle processor, which has to be called out of its sleep first: on virtual machines that takes up to
50 µs, twice a token, and a token of a tiny model takes 300. On one processor they only take turns.
"""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto

from weft_worker.native_threads import CpuUse, NativeThreads

_logger = logging.getLogger(__name__)
_LOOK_SECONDS = 0.02
# Looks further apart than this are hardly of one answer; and who had nothing fast for so long is slow.
_BURST_SECONDS = 0.1
# What is kept for so long is looked at anew: the processor may be slower than others for reasons that nobody tells.
_MOST_KEPT_SECONDS = 5.0
_MOST_SEARCHES = 50
# Between two looks both get a processor at least so often, and one of them runs so many times as long as the other.
_LEAST_TURNS = 10
_LEAST_RATIO = 4.0
# A share of the time that the one that computes waits for its processor: more, and others want that too.
_MOST_WAITED_SHARE = 0.1
_LONGEST_PAUSE_SECONDS = 1.0


class _State(Enum):
    SEARCHING = auto()
    LOOSE = auto()
    KEPT = auto()
    GIVEN_UP = auto()


@dataclass(frozen=True, slots=True)
class Pair:
    """The kernel's numbers of the two."""

    computing: int
    other: int


class ThreadPair:
    """The two of one model.

    State: how many answers there are, what is known of the two, and whether they are kept; all of it behind a lock,
    since the event loop begins and ends answers and any thread that carries tokens may look.
    """

    def __init__(self, threads: NativeThreads, *, has_one_computing: bool) -> None:
        """Where several threads compute they wait for each other anyway, and are left alone."""
        self._threads = threads
        self._lock = threading.Lock()
        self._answer_count = 0
        self._state = _State.SEARCHING if has_one_computing else _State.GIVEN_UP
        self._looked_seconds = self._fast_seconds = float("-inf")
        # While searching: what all had at the last look of this burst, and how many more looks there will be.
        self._uses: Mapping[int, CpuUse] = {}
        self._searches_left = _MOST_SEARCHES
        # Once it is known: the pair, and when to keep it next.
        self._pair = Pair(0, 0)
        self._loose_until_seconds = float("-inf")
        self._pause_seconds = _LOOK_SECONDS
        # While kept: since when, where both could run before, and what the one that computes had at the last look.
        self._kept_seconds = 0.0
        self._allowed_before: dict[int, Collection[int]] = {}
        self._last_use = CpuUse(0.0, 0.0, 0)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Permit it for the time of an answer; after the last one the kernel chooses freely again."""
        with self._lock:
            self._answer_count += 1
        try:
            yield
        finally:
            with self._lock:
                self._answer_count -= 1
                if not self._answer_count:
                    self._let_go()

    def look(self, now: float, *, fast: bool) -> None:
        """See to the two; called with each token, `fast` or not, in monotonic seconds; never raises."""
        if fast:
            self._fast_seconds = now
        if now - self._looked_seconds < _LOOK_SECONDS or not self._lock.acquire(blocking=False):
            return
        try:
            seconds = now - self._looked_seconds
            # An answer that is over may still bring a token.
            if self._answer_count and seconds >= _LOOK_SECONDS:
                self._looked_seconds = now
                self._step(now, seconds)
        except (OSError, LookupError) as error:
            self._give_up()
            _logger.info("threads_not_kept_together", extra={"cause": str(error)})
        except Exception:  # an answer must not end because of what only makes it faster
            self._give_up()
            _logger.exception("threads_not_kept_together")
        finally:
            self._lock.release()

    def _step(self, now: float, seconds: float) -> None:
        is_fast = now - self._fast_seconds < _BURST_SECONDS
        match self._state:
            case _State.SEARCHING if is_fast:
                self._search(now, seconds)
            case _State.LOOSE if is_fast and now >= self._loose_until_seconds:
                self._keep(now)
            case _State.KEPT:
                self._check(now, seconds, is_fast=is_fast)
            case _:
                pass

    def _search(self, now: float, seconds: float) -> None:
        if seconds > _BURST_SECONDS:
            self._uses = {}
            return
        earlier, self._uses = self._uses, self._threads.uses()
        if not earlier:
            return
        if found := pair_of(earlier, self._uses):
            self._pair, self._uses = found, {}
            self._keep(now)
            return
        self._searches_left -= 1
        if not self._searches_left:
            raise LookupError("No two of the library's threads wait for each other.")

    def _keep(self, now: float) -> None:
        both = (self._pair.computing, self._pair.other)
        self._allowed_before = {thread: self._threads.allowed(thread) for thread in both}
        self._last_use = self._threads.use(self._pair.computing)
        self._state, self._kept_seconds = _State.KEPT, now
        here = {self._threads.processor(self._pair.computing)}
        for thread in both:
            self._threads.allow(thread, here)

    def _check(self, now: float, seconds: float, *, is_fast: bool) -> None:
        use = self._threads.use(self._pair.computing)
        waited_seconds, self._last_use = use.since(self._last_use).waited_seconds, use
        if waited_seconds > _MOST_WAITED_SHARE * seconds:
            self._let_go()
            self._loose_until_seconds = now + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
        elif not is_fast:
            self._let_go()
        elif now - self._kept_seconds > _MOST_KEPT_SECONDS:
            self._let_go()
            self._state, self._searches_left = _State.SEARCHING, _MOST_SEARCHES
        else:
            self._pause_seconds = _LOOK_SECONDS

    def _give_up(self) -> None:
        self._let_go()
        self._state = _State.GIVEN_UP

    def _let_go(self) -> None:
        if self._state is not _State.KEPT:
            return
        self._state = _State.LOOSE
        for thread, processors in self._allowed_before.items():
            with suppress(OSError):  # it is gone
                self._threads.allow(thread, processors)


def pair_of(earlier: Mapping[int, CpuUse], later: Mapping[int, CpuUse]) -> Pair | None:
    """Tell who computes and who waits with it, by what they had between two looks; None where that is not plain."""
    had = {thread: later[thread].since(earlier[thread]) for thread in earlier.keys() & later.keys()}
    awake = [thread for thread, use in had.items() if use.turn_count >= _LEAST_TURNS]
    if len(awake) != 2:
        return None
    other, computing = sorted(awake, key=lambda thread: had[thread].ran_seconds)
    ratio = had[computing].ran_seconds / max(had[other].ran_seconds, 1e-9)
    return Pair(computing, other) if ratio >= _LEAST_RATIO else None
