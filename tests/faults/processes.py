"""Kill, stop and slow the processes of parts."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import psutil

_SLICE_SECONDS = 0.05


class Victim(Protocol):
    """A line of `weft status`."""

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def address(self) -> str: ...


def kill(*parts: Victim) -> None:
    """End parts with SIGKILL; what undoes it is whoever supervises them."""
    for part in parts:
        with contextlib.suppress(ProcessLookupError):
            os.kill(part.pid, signal.SIGKILL)


@contextlib.contextmanager
def stopped(*parts: Victim) -> Iterator[None]:
    """SIGSTOP: their ports stay open and nobody answers; they go on when the block is left."""
    with contextlib.ExitStack() as undo:
        for part in parts:
            undo.enter_context(_stopped(part))
        yield


@contextlib.contextmanager
def paused(*parts: Victim, seconds: float) -> Iterator[None]:
    """Stop parts for a while, as a long page fault does; they go on after it, or when the block is left."""
    over = threading.Event()

    def pause() -> None:
        with stopped(*parts):
            begun.set()
            over.wait(seconds)

    begun = threading.Event()
    thread = threading.Thread(target=pause)
    thread.start()
    try:
        begun.wait()
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def slowed(*parts: Victim, share: float) -> Iterator[None]:
    """Let parts run for a share of the time only, in slices of 50 ms."""
    over = threading.Event()

    def chop() -> None:
        while not over.is_set():
            with stopped(*parts):
                time.sleep(_SLICE_SECONDS * (1 - share))
            time.sleep(_SLICE_SECONDS * share)

    thread = threading.Thread(target=chop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _stopped(part: Victim) -> Iterator[None]:
    pids = _processes(part)
    try:
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


def _processes(part: Victim) -> list[int]:
    """PostgreSQL's sessions are processes of their own that go on answering; an agent's children are other parts."""
    if part.name != "postgres":
        return [part.pid]
    return [part.pid, *(child.pid for child in psutil.Process(part.pid).children(recursive=True))]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
