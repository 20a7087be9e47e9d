"""How a backend process is started: its environment, its command, its document on stdin."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft_common.process import Child, Command, spawn
from weft_worker.backend.launch import LaunchDocument, gpu_ids

BACKEND_COMMAND = (sys.executable, "-m", "weft_worker.backend")
KEPT_LOGS = 20
# A pipe takes this much without a reader; the document is written before the process exists.
_PIPE_BYTES = 60 * 1024


class LaunchImpossible(Exception):
    """The process cannot be started as asked."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One process to start."""

    document: LaunchDocument
    log: Path


def backend_environment(ours: Mapping[str, str], device_ids: Sequence[str]) -> Mapping[str, str]:
    """Pass on the environment without what is the agent's own, its registration token above all."""
    passed = {name: value for name, value in ours.items() if not name.startswith("WEFT_")}
    if device_ids:
        # By UUID: NVML and CUDA number devices differently. None is seen by a process that is for the CPU.
        passed["CUDA_VISIBLE_DEVICES"] = ",".join(gpu_ids(device_ids))
    return passed


class BackendLauncher:
    """Starts backend processes that outlive the agent: no death signal, a session of their own."""

    def __init__(self, command: Sequence[str] = BACKEND_COMMAND) -> None:
        self._command = tuple(command)

    def start(self, launch: Launch) -> Child:
        """Start the process with the document on its stdin; raises LaunchImpossible and OSError."""
        line = launch.document.to_line()
        if len(line) > _PIPE_BYTES:
            raise LaunchImpossible(f"the model's settings take {len(line)} bytes, which is too much")
        _prune_logs(launch.log.parent)
        reading, writing = os.pipe()
        try:
            os.write(writing, line)
            return spawn(
                Command(
                    argv=self._command,
                    env=backend_environment(os.environ, launch.document.device_ids),  # noqa: TID251 (what a child inherits)
                    log=launch.log,
                    death_signal=None,
                    stdin=reading,
                )
            )
        finally:
            os.close(reading)
            os.close(writing)


def _prune_logs(folder: Path) -> None:
    """Keep the logs that were written to last; every replica has one of its own, so they would pile up."""
    logs = sorted(folder.glob("*.log*"), key=_written_at, reverse=True)
    for old in logs[KEPT_LOGS:]:
        old.unlink(missing_ok=True)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # moved on by the rotation in another thread
        return 0.0
