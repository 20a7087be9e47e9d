"""One suite for the kernel's threads and for those that stand in for them."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.worker.fake_threads import FakeThreads
from weft_worker.native_threads import LinuxThreads, NativeThreads

HERE = frozenset(os.sched_getaffinity(0))
GONE = (FileNotFoundError, ProcessLookupError)
_WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Case:
    """Threads, with ways to begin one that Python knows nothing of, to end it, and to see where it may run."""

    threads: NativeThreads
    begin: Callable[[], int]
    end: Callable[[int], None]
    allowed: Callable[[int], frozenset[int]]


class Sleepers:
    """Real threads, each in C's `sem_wait`; state: those that have not been ended, by the kernel's number."""

    def __init__(self, threads: LinuxThreads) -> None:
        self._threads = threads
        self._c = ctypes.CDLL(None)
        self._running: dict[int, tuple[ctypes.c_ulong, ctypes.Array[ctypes.c_char]]] = {}

    def begin(self) -> int:
        before, handle, semaphore = (
            set(self._threads.uses()),
            ctypes.c_ulong(),
            ctypes.create_string_buffer(64),
        )
        assert self._c.sem_init(semaphore, 0, 0) == 0
        assert self._c.pthread_create(ctypes.byref(handle), None, self._c.sem_wait, semaphore) == 0
        (thread,) = set(self._threads.uses()) - before
        self._running[thread] = (handle, semaphore)
        return thread

    def end(self, thread: int) -> None:
        handle, semaphore = self._running.pop(thread)
        assert self._c.sem_post(semaphore) == 0
        assert self._c.pthread_join(handle, None) == 0
        deadline = time.monotonic() + _WAIT_SECONDS
        while os.path.exists(f"/proc/self/task/{thread}"):  # the kernel wakes who joins a moment before that
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def close(self) -> None:
        for thread in list(self._running):
            self.end(thread)


def _allowed(thread: int) -> frozenset[int]:
    return frozenset(os.sched_getaffinity(thread))


@pytest.fixture(params=["kernel", "fake"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "kernel":
        real = LinuxThreads()
        sleepers = Sleepers(real)
        yield Case(real, sleepers.begin, sleepers.end, _allowed)
        sleepers.close()
        return
    fake = FakeThreads(HERE)
    numbers = iter(range(1_000_000, 2_000_000))

    def begin() -> int:
        fake.begin(number := next(numbers))
        return number

    yield Case(fake, begin, fake.end, lambda thread: fake.allowed[thread])


def test_those_that_begin_are_there_and_those_that_end_are_gone(case: Case) -> None:
    one, other = case.begin(), case.begin()
    assert {one, other} <= set(case.threads.uses())
    case.end(one)
    uses = case.threads.uses()
    assert one not in uses
    assert uses[other].ran_seconds >= 0
    assert uses[other].waited_seconds >= 0
    assert uses[other].turn_count >= 0


def test_what_they_had_only_grows(case: Case) -> None:
    thread = case.begin()
    earlier = case.threads.use(thread)
    had = case.threads.use(thread).since(earlier)
    assert had.ran_seconds >= 0
    assert had.turn_count >= 0
    assert case.threads.use(thread).since(case.threads.use(thread)).ran_seconds == 0


def test_they_run_where_they_are_kept_and_then_anywhere(case: Case) -> None:
    thread, other = case.begin(), case.begin()
    assert case.threads.processor(thread) in HERE
    last = max(HERE)
    case.threads.keep([thread, other], last)
    assert (case.allowed(thread), case.allowed(other)) == ({last}, {last})
    case.threads.keep([thread], None)
    assert (case.allowed(thread), case.allowed(other)) == (HERE, {last})


def test_of_one_that_is_gone_nothing_is_told(case: Case) -> None:
    thread = case.begin()
    case.end(thread)
    with pytest.raises(GONE):
        case.threads.use(thread)
    with pytest.raises(GONE):
        case.threads.processor(thread)
    with pytest.raises(GONE):
        case.threads.keep([thread], min(HERE))


def test_a_thread_of_python_is_none_of_them() -> None:
    threads, ended = LinuxThreads(), threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert thread.native_id not in threads.uses()
    finally:
        ended.set()
        thread.join()
