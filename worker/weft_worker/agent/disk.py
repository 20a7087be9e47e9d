"""The room on the disk that holds a worker's models."""

import asyncio
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

# A network file system that is away answers when it is back.
_LOOK_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """Bytes; a total of 0 means that nothing is known."""

    total_bytes: int = 0
    free_bytes: int = 0


class ModelsDisk:
    """Looks at the disk of a folder. State: what was seen last, a look under way, and a complaint."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen = DiskRoom()
        self._look: asyncio.Future[DiskRoom] | None = None
        self._complaint = ""

    async def room(self) -> DiskRoom:
        """Say how much there is now, or was when the disk last answered."""
        if self._folder is None:
            return DiskRoom()
        patience = 0.0
        if self._look is None:
            patience = _LOOK_SECONDS
            self._look = asyncio.get_running_loop().run_in_executor(None, _room, self._folder)
        done, _ = await asyncio.wait([self._look], timeout=patience)
        if done:
            self._take(self._look)
            self._look = None
        return self._seen

    def _take(self, look: "asyncio.Future[DiskRoom]") -> None:
        error = look.exception()
        if error is None:
            self._seen, self._complaint = look.result(), ""
            return
        self._seen = DiskRoom()
        if str(error) != self._complaint:
            self._complaint = str(error)
            _log.warning("disk_unknown", extra={"folder": str(self._folder), "reason": self._complaint})


def _room(folder: Path) -> DiskRoom:
    """Look at the nearest folder that exists: the models may not be there yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    usage = shutil.disk_usage(there)
    return DiskRoom(usage.total, usage.free)
