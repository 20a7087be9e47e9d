"""How much memory there is, and how much a replica's processes really hold."""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
_PSS = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)


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


def group_memory(leaders: Iterable[int], proc: Path = _PROC) -> Mapping[int, int]:
    """Measure the proportional set size of each process group in bytes, shared pages divided fairly.

    Walks /proc and may take milliseconds for each gigabyte that is mapped: call it from a thread.
    """
    held = dict.fromkeys(leaders, 0)
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        group = _group_of(entry)
        if group in held:
            held[group] += _pss(entry)
    return held


def _group_of(process: Path) -> int | None:
    try:
        stat = (process / "stat").read_bytes()
        return int(stat[stat.rindex(b")") + 2 :].split()[2])
    except (OSError, ValueError):  # it ended while we looked
        return None


def _pss(process: Path) -> int:
    """Read the process's share of what it maps; its resident pages where the kernel does not tell."""
    with contextlib.suppress(OSError):
        match = _PSS.search((process / "smaps_rollup").read_bytes())
        if match is not None:
            return int(match[1]) * 1024
    with contextlib.suppress(OSError):
        return int((process / "statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


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
