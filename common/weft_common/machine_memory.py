"""How much memory there is: of the machine, or of the container that we are confined to."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """What the machine, or the container that we are confined to, has."""

    total_bytes: int
    available_bytes: int


def machine_memory(cgroup: Path | None = None) -> MachineMemory:
    """Look now; the tightest limit of the control groups above us counts like a smaller machine."""
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    for folder in _cgroups(cgroup or _own_cgroup()):
        limit = _number(folder / "memory.max")
        if limit is None:
            continue
        used = (_number(folder / "memory.current") or 0) - _reclaimable(folder)
        total, available = min(total, limit), min(available, max(0, limit - used))
    return MachineMemory(total, available)


def _own_cgroup() -> Path:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                return _CGROUP / line.removeprefix("0::/")
    return _CGROUP


def _cgroups(folder: Path) -> Iterable[Path]:
    yield folder
    if folder.is_relative_to(_CGROUP):
        yield from (parent for parent in folder.parents if parent.is_relative_to(_CGROUP))


def _reclaimable(folder: Path) -> int:
    """File pages that the kernel would drop first; a model read from disk fills the group with them."""
    with contextlib.suppress(OSError):
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                return int(line.split()[1])
    return 0


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max": no limit
