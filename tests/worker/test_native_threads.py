"""One suite for the kernel's threads and for those that stand in for them."""

import ctypes
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.worker.fake_threads import FakeThreads
from weft_worker.native_threads import CpuUse, LinuxThreads, NativeThreads

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
        # The kernel wakes who joins a moment before that.
        _wait_for(lambda: not os.path.exists(f"/proc/self/task/{thread}"))

    def close(self) -> None:
        for thread in list(self._running):
            self.end(thread)


class Burners:
    """Processor time for a thread of this process; the thread is Python's, which the kernel does not know."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self) -> int:
        thread = threading.Thread(target=self._burn)
        thread.start()
        self._threads.append(thread)
        assert thread.native_id is not None
        return thread.native_id

    def _burn(self) -> None:
        data = bytes(1 << 20)
        while not self._ended.is_set():
            hashlib.sha256(data).digest()  # without the interpreter's lock

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


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

    yield Case(fake, begin, fake.end, lambda thread: fake.affinity[thread])


def test_those_that_begin_are_there_and_those_that_end_are_gone(case: Case) -> None:
    one, other = case.begin(), case.begin()
    assert {one, other} <= set(case.threads.uses())
    case.end(one)
    uses = case.threads.uses()
    assert one not in uses
    assert uses[other].ran_seconds >= 0
    assert uses[other].waited_seconds >= 0
    assert uses[other].turn_count >= 0


def test_they_may_run_where_they_are_allowed(case: Case) -> None:
    thread, other = case.begin(), case.begin()
    assert case.threads.processor(thread) in HERE
    assert case.threads.allowed(thread) == HERE
    last = {max(HERE)}
    case.threads.allow(thread, last)
    assert (case.allowed(thread), case.allowed(other)) == (last, HERE)
    assert case.threads.allowed(thread) == last
    case.threads.allow(thread, HERE)
    assert case.allowed(thread) == HERE


def test_of_one_that_is_gone_nothing_is_told(case: Case) -> None:
    thread = case.begin()
    case.end(thread)
    with pytest.raises(GONE):
        case.threads.use(thread)
    with pytest.raises(GONE):
        case.threads.processor(thread)
    with pytest.raises(GONE):
        case.threads.allowed(thread)
    with pytest.raises(GONE):
        case.threads.allow(thread, HERE)


def test_a_thread_of_python_is_none_of_them() -> None:
    threads, ended = LinuxThreads(), threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert thread.native_id not in threads.uses()
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def burners() -> Iterator[Burners]:
    made = Burners()
    yield made
    made.close()


def test_who_computes_is_where_it_may_be_and_has_run(burners: Burners) -> None:
    began = time.monotonic()
    threads, thread = LinuxThreads(), burners.begin()
    for processor in sorted(HERE):
        earlier = threads.use(thread)
        threads.allow(thread, {processor})
        _wait_for(lambda before=earlier: threads.use(thread).since(before).ran_seconds > 0.05)
        assert threads.processor(thread) == processor
    assert threads.use(thread).ran_seconds <= time.monotonic() - began
    assert threads.use(thread).turn_count > 0


def test_three_on_one_processor_wait_for_it(burners: Burners) -> None:
    threads, all_three = LinuxThreads(), [burners.begin() for _ in range(3)]
    for thread in all_three:
        threads.allow(thread, {min(HERE)})
    began = time.monotonic()
    earlier = {thread: threads.use(thread) for thread in all_three}

    def had(thread: int) -> CpuUse:
        return threads.use(thread).since(earlier[thread])

    _wait_for(lambda: all(had(thread).ran_seconds > 0.1 for thread in all_three))
    used, seconds = [had(thread) for thread in all_three], time.monotonic() - began
    assert sum(use.ran_seconds for use in used) <= seconds + 0.02, "one processor, but for the reading"
    assert all(0.1 <= use.waited_seconds <= seconds for use in used), "while both others ran"
    assert sum(use.waited_seconds for use in used) > 1.5 * sum(use.ran_seconds for use in used)
    assert all(use.turn_count >= 2 for use in used)


def test_a_name_with_brackets_and_half_a_letter_is_read(burners: Burners) -> None:
    threads, thread = LinuxThreads(), burners.begin()
    Path(f"/proc/self/task/{thread}/comm").write_bytes(b") 1 2 (\xc3 caf\xc3")
    assert threads.processor(thread) in HERE


def test_threads_that_end_while_they_are_listed_are_left_out() -> None:
    threads, ended = LinuxThreads(), threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            threading.Thread(target=int).start()

    coming = threading.Thread(target=come_and_go)
    coming.start()
    try:
        for _ in range(2000):
            threads.uses()
    finally:
        ended.set()
        coming.join()


def test_another_process_is_not_touched() -> None:
    threads = LinuxThreads()
    with pytest.raises(GONE):
        threads.allowed(os.getppid())
    with pytest.raises(GONE):
        threads.allow(os.getppid(), HERE)
