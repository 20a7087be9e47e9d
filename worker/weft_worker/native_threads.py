"""Threads of this process that native libraries began: what the kernel says of them, and where it runs them."""

import os
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_TASKS = Path("/proc/self/task")
# Fields of /proc/PID/task/TID/stat after the name in brackets, which may hold anything.
_PROCESSOR_FIELD = 36


@dataclass(frozen=True, slots=True)
class Use:
    """What a thread has had of the processors: seconds it ran and waited for one, and how often it got one."""

    ran_seconds: float
    waited_seconds: float
    turn_count: int

    def since(self, earlier: "Use") -> "Use":
        """What it has had since then."""
        return Use(
            self.ran_seconds - earlier.ran_seconds,
            self.waited_seconds - earlier.waited_seconds,
            self.turn_count - earlier.turn_count,
        )


class NativeThreads(Protocol):
    """The seam to the kernel; each raises OSError where that does not tell, or the thread is gone."""

    def uses(self) -> dict[int, Use]:
        """What each of them has had, by the kernel's number of it."""
        ...

    def use(self, thread: int) -> Use:
        """What one has had."""
        ...

    def processor(self, thread: int) -> int:
        """Where it runs, or ran last."""
        ...

    def keep(self, threads: Iterable[int], processor: int | None) -> None:
        """Have them run on one processor alone; with None wherever this process may."""
        ...


class LinuxThreads:
    """Those that have begun since this was made, but for Python's."""

    def __init__(self) -> None:
        self._before = thread_ids()

    def uses(self) -> dict[int, Use]:
        """Read what the kernel keeps of each, some 30 µs a thread."""
        ours = {thread.native_id for thread in threading.enumerate()}
        return {thread: self.use(thread) for thread in thread_ids() - self._before - ours}

    def use(self, thread: int) -> Use:
        """Read what the kernel keeps of one."""
        ran, waited, turns = (_TASKS / str(thread) / "schedstat").read_text().split()
        return Use(int(ran) / 1e9, int(waited) / 1e9, int(turns))

    def processor(self, thread: int) -> int:
        """Read where it ran last."""
        return int((_TASKS / str(thread) / "stat").read_text().rpartition(")")[2].split()[_PROCESSOR_FIELD])

    def keep(self, threads: Iterable[int], processor: int | None) -> None:
        """Set the affinity of each; this process may be where that of its first thread says."""
        allowed: Collection[int] = os.sched_getaffinity(os.getpid()) if processor is None else (processor,)
        for thread in threads:
            os.sched_setaffinity(thread, allowed)


def thread_ids() -> set[int]:
    """The kernel's numbers of all threads of this process; none where there is no /proc."""
    try:
        return {int(entry) for entry in os.listdir(_TASKS)}
    except OSError:
        return set()
