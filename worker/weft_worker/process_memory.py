"""How much memory process groups really hold; a replica is a group of its own."""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_PROC = Path("/proc")
_PSS = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)


def group_pids(leaders: Iterable[int], proc: Path = _PROC) -> Mapping[int, tuple[int, ...]]:
    """List the processes of each group that is named by its leader's pid."""
    found: dict[int, list[int]] = {leader: [] for leader in leaders}
    for entry in proc.iterdir() if proc.is_dir() else ():
        if entry.name.isdigit() and (group := _group_of(entry)) in found:
            found[group].append(int(entry.name))
    return {leader: tuple(pids) for leader, pids in found.items()}


def proportional_bytes(pids: Iterable[int], proc: Path = _PROC) -> int:
    """Sum up the proportional set size of processes: pages that several share are divided fairly.

    The kernel walks over every page that is mapped, which may take half a second for a large model: call it from
    a thread.
    """
    return sum(_pss(proc / str(pid)) for pid in pids)


def group_memory(leaders: Iterable[int], proc: Path = _PROC) -> Mapping[int, int]:
    """Measure each group in bytes."""
    pids = group_pids(leaders, proc)
    return {leader: proportional_bytes(pids[leader], proc) for leader in pids}


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
