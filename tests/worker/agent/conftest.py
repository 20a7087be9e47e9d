"""A fleet of its own for every test."""

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.worker.agent.fleet import SOON, FakeRouter, Fleet
from weft_common.bus import open_bus
from weft_common.embedded.nats import binary
from weft_common.rpc import RpcServer
from weft_proto.pb.weft.bus.v1 import reports_pb2


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A nats-server for the whole run; every test has a node of its own on it."""
    folder = tmp_path_factory.mktemp("nats")
    argv = [binary(), "-a", "127.0.0.1", "-p", "-1", "--auth", "bus", "--ports_file_dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    ports_file = folder / f"nats-server_{process.pid}.ports"
    while not ports_file.exists() or not ports_file.read_text().endswith("}"):
        assert process.poll() is None, (folder / "log").read_text()
    url = json.loads(ports_file.read_text())["nats"][0]
    yield url.replace("nats://", "nats://bus@")
    process.send_signal(signal.SIGTERM)
    process.wait()


@pytest.fixture
async def fleet(nats_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    router = FakeRouter(nats_url)
    router.node_id = f"n-{os.urandom(4).hex()}"
    server = RpcServer(services=[router])
    port = server.listen("127.0.0.1:0")
    await server.start()
    async with open_bus(nats_url, name="test") as bus:
        assert await bus.wait_connected(SOON)
        fleet = Fleet(router, bus, port, server, tmp_path / "state")

        async def note(payload: bytes) -> None:
            fleet.reports.append(reports_pb2.LoadReport.FromString(payload))

        async with bus.subscribe(f"weft.load.{router.node_id}", note):
            yield fleet
        await fleet.server.stop(0)
