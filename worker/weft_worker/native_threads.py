"""Threads of this process that native libraries began: what the kernel says of them, and where it may run them."""

import os
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_TASKS = Path("/proc/self/task")
# Of /proc/PID/task/TID/stat, counted after the name in brackets, which may hold anything.
_PROCESSOR_FIELD = 36


@dataclass(frozen=True, slots=True)
class CpuUse:
    """What a thread has had of the processors: seconds it ran and waited for one, and how often it got one."""

    ran_seconds: float
    waited_seconds: float
    turn_count: int

    def since(self, earlier: "CpuUse") -> "CpuUse":
        """What it has had since then."""
        return CpuUse(
            self.ran_seconds - earlier.ran_seconds,
            self.waited_seconds - earlier.waited_seconds,
            self.turn_count - earlier.turn_count,
        )


class NativeThreads(Protocol):
    """The seam to the kernel; all raise OSError where it does not tell, does not allow, or the thread is gone."""

    def uses(self) -> dict[int, CpuUse]:
        """What each of them has had, by the kernel's number of it."""
        ...

    def use(self, thread: int) -> CpuUse:
        """What one has had."""
        ...

    def processor(self, thread: int) -> int:
        """The number of the one where it runs, or ran last."""
        ...

    def allowed(self, thread: int) -> frozenset[int]:
        """The numbers of those where it may run."""
        ...

    def allow(self, thread: int, processors: Collection[int]) -> None:
        """Have it run on these alone."""
        ...


class LinuxThreads:
    """Those that have begun since this was made, but for Python's: what a library begins next, and hardly any other."""

    def __init__(self) -> None:
        try:
            self._before = _thread_ids()
        except OSError:  # told to whoever asks for more
            self._before = set()

    def uses(self) -> dict[int, CpuUse]:
        """Read what the kernel keeps of each, some 30 µs a thread."""
        ours = {thread.native_id for thread in threading.enumerate()}
        uses = {}
        for thread in _thread_ids() - self._before - ours:
            try:
                uses[thread] = self.use(thread)
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
        return uses

    def use(self, thread: int) -> CpuUse:
        """Read what the kernel keeps of one."""
        ran, waited, turns = self._numbers(thread, "schedstat")[:3]
        return CpuUse(ran / 1e9, waited / 1e9, turns)

    def processor(self, thread: int) -> int:
        """Read where it ran last."""
        return self._numbers(thread, "stat")[_PROCESSOR_FIELD]

    def allowed(self, thread: int) -> frozenset[int]:
        """Read its affinity."""
        _require_ours(thread)
        return frozenset(os.sched_getaffinity(thread))

    def allow(self, thread: int, processors: Collection[int]) -> None:
        """Set its affinity."""
        _require_ours(thread)
        os.sched_setaffinity(thread, processors)

    def _numbers(self, thread: int, name: str) -> tuple[int, ...]:
        """The numbers of such a file; a letter in place of one is 0."""
        text = (_TASKS / str(thread) / name).read_bytes()
        numbers = tuple(int(word) if word.isdigit() else 0 for word in text.rpartition(b")")[2].split())
        if len(numbers) < (_PROCESSOR_FIELD + 1 if name == "stat" else 3):
            raise OSError(f"The kernel's {name} of a thread cannot be read.")
        return numbers


def _require_ours(thread: int) -> None:
    """A number may be another process's by now."""
    if not (_TASKS / str(thread)).exists():
        raise ProcessLookupError(f"Thread {thread} is none of this process.")


def _thread_ids() -> set[int]:
    """The kernel's numbers of all threads of this process; raises OSError where they are not told as Python knows them.

    So it is without /proc, and where that is of another namespace.
    """
    found = {int(name) for name in os.listdir(_TASKS)}
    if threading.get_native_id() not in found:
        raise OSError("/proc does not tell of this process's threads.")
    return found
