"""Reflection, asked by buf as users do."""

import asyncio
import sys
from pathlib import Path

import pytest

BUF = Path(sys.executable).parent / "buf"
OWN = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]
SOON = 30.0

pytestmark = pytest.mark.parametrize("version", ["grpc-v1", "grpc-v1alpha"])


async def buf_curl(port: int, version: str, *arguments: str, path: str = "") -> list[str]:
    buf = await asyncio.create_subprocess_exec(
        *(str(BUF), "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--reflect-protocol", version),
        *(*arguments, f"http://127.0.0.1:{port}{path}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(buf.communicate(), SOON)
    assert buf.returncode == 0, err.decode()
    return out.decode().splitlines()


async def test_services_that_are_served_are_listed(serve, version):
    async with serve() as served:
        assert await buf_curl(served.port, version, "--list-services") == [*OWN, "weft.test.v1.EchoService"]


async def test_services_that_others_serve_can_be_listed_and_explained(serve, version):
    names = ["weft.inference.v1.InferenceService", "weft.routing.v1.RoutingService"]
    async with serve(reflected=names) as served:
        assert await buf_curl(served.port, version, "--list-services") == [*OWN, *names]
        methods = await buf_curl(served.port, version, "--list-methods")
    assert "weft.inference.v1.InferenceService/Chat" in methods
    assert "weft.routing.v1.RoutingService/WatchFleet" in methods
    assert "grpc.health.v1.Health/Check" in methods


async def test_rpc_is_called_with_nothing_but_reflection(serve, version):
    async with serve() as served:
        served.server.set_serving(True)
        answer = await buf_curl(served.port, version, "-d", "{}", path="/grpc.health.v1.Health/Check")
    assert "".join(answer).replace(" ", "") == '{"status":"SERVING"}'
