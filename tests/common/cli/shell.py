"""Somebody at a command line, for tests of what `weft` does when typed."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from weft_common.cli.status import merged
from weft_common.home import Home

TINY_WEFT = Path(__file__).with_name("tiny_weft.py")
DEADLINE = 20.0


class Shell:
    """Somebody who types `weft ...` with WEFT_HOME set. State: what is still running in the foreground."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = int(server.getsockname()[1])
        self._foreground: list[subprocess.Popen[str]] = []

    def weft(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(words), env=self._environment(), capture_output=True, text=True, timeout=DEADLINE
        )

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.weft("up", "-d", "--port", str(self.port), *words)

    def foreground(self, *, as_json: bool = True) -> subprocess.Popen[str]:
        """Start `weft up` and wait until it serves."""
        process = self.start("up", "--port", str(self.port), *(("--json",) if as_json else ()))
        assert process.stdout is not None
        for line in process.stdout:
            if "http://" in line:
                return process
        raise AssertionError("weft up ended without serving")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run a command and go on typing meanwhile."""
        process = subprocess.Popen(
            self._command(words),
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._foreground.append(process)
        return process

    def status(self) -> Any:
        return json.loads(self.weft("status", "--json").stdout)

    def pids(self) -> dict[str, int]:
        """Return what `weft status` would say runs, without the price of a process for asking."""
        return {
            record.name: record.pid for record in merged(Home(self.home)) if record.running and record.pid
        }

    def misbehave(self, word: str) -> None:
        self.home.mkdir(exist_ok=True)
        (self.home / "misbehave").write_text(word)

    def close(self) -> None:
        for process in self._foreground:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        if self.pids():
            self.weft("down")

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, str(TINY_WEFT), *words]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "WEFT_HOME": str(self.home)}


def running(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
