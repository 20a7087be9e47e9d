"""One `weft up` for each WEFT_HOME: a lock that the kernel drops with its holder, and says who that is."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from weft_common.home import StartError
from weft_common.process import alive, start_time


@dataclass(frozen=True, slots=True)
class Owner:
    """Who runs, or last ran, this home."""

    pid: int
    start_time: int
    url: str
    serving: bool = False

    @property
    def running(self) -> bool:
        return alive(self.pid, self.start_time)


class AlreadyRunning(StartError):
    """Another `weft up` holds this home."""

    def __init__(self, owner: Owner | None) -> None:
        who = "another process" if owner is None else f"pid {owner.pid} at {owner.url}"
        super().__init__(f"weft is already running here: {who} (see `weft status`, stop it with `weft down`)")
        self.owner = owner


@contextlib.contextmanager
def hold_lock(path: Path, url: str) -> Iterator[Callable[[], None]]:
    """Be the only owner while the body runs; what it gets tells others that we now serve."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(read_owner(path)) from error
        owner = Owner(pid=os.getpid(), start_time=start_time(os.getpid()) or 0, url=url)
        _write(descriptor, owner)
        yield lambda: _write(descriptor, replace(owner, serving=True))
    finally:
        os.close(descriptor)


def read_owner(path: Path) -> Owner | None:
    """Return who wrote the lock last; None when nobody did."""
    try:
        return Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(descriptor: int, owner: Owner) -> None:
    # One write of a fixed length: a reader sees the old owner or the new one, never a piece of each.
    os.pwrite(descriptor, json.dumps(asdict(owner)).ljust(512).encode(), 0)
