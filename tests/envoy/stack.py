"""A real Envoy in front of fakes, and requests that say what the fakes shall do."""

import asyncio
import base64
import contextlib
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

from tests.envoy.fakes import FakeGateway, FakeReplica, FakeRouter
from weft_common.embedded.envoy import binary
from weft_common.envoy_config import EnvoyParams, render_bootstrap
from weft_proto.pb.weft.inference.v1.inference_service_pb2 import ChatRequest, ChatResponse, Message

BODY_LIMIT = 1024 * 1024
DEADLINE_SECONDS = 10.0


@dataclass(frozen=True)
class Envoy:
    """A running Envoy."""

    process: asyncio.subprocess.Process
    url: str
    address: str
    access_log: Path
    admin: str

    async def until(self, counter: str, value: int) -> None:
        """Wait until one of Envoy's own counters has reached a value."""
        async with httpx.AsyncClient() as client, asyncio.timeout(DEADLINE_SECONDS):
            while True:
                text = (
                    await client.get(f"{self.admin}/stats", params={"filter": f"^{re.escape(counter)}$"})
                ).text
                if text.strip() and int(text.rpartition(":")[2]) >= value:
                    return
                await asyncio.sleep(0.02)  # Envoy can only be asked


@dataclass(frozen=True)
class Stack:
    """Envoy and what is behind it; Check picks `primary`, then `fallback`."""

    envoy: Envoy
    gateway: FakeGateway
    router: FakeRouter
    primary: FakeReplica
    fallback: FakeReplica
    http1: httpx.AsyncClient
    http2: httpx.AsyncClient
    channel: grpc.aio.Channel

    async def chat(
        self,
        *steps: tuple[object, ...],
        check: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        client: httpx.AsyncClient | None = None,
    ) -> httpx.Response:
        """Send a chat completion over REST whose replicas all follow `steps`."""
        return await self.script({"*": steps}, check=check, headers=headers, client=client)

    async def script(
        self,
        scripts: Mapping[str, object],
        *,
        check: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        client: httpx.AsyncClient | None = None,
        padding: str = "",
    ) -> httpx.Response:
        """Send a chat completion over REST with steps by port of the replica, `*` for the others."""
        body = {"model": "m", "steps": scripts, "padding": padding}
        sent = {"check": json.dumps(check or {}), **(headers or {})}
        return await (client or self.http1).post("/v1/chat/completions", json=body, headers=sent)

    def rpc(
        self,
        *steps: tuple[object, ...],
        check: Mapping[str, object] | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
        path: str = "/weft.inference.v1.InferenceService/Chat",
        padding: str = "",
    ) -> Any:
        """Start a typed chat over gRPC whose replicas all follow `steps`."""
        method = self.channel.unary_stream(path, ChatRequest.SerializeToString, ChatResponse.FromString)
        content = json.dumps({"steps": {"*": steps}, "padding": padding})
        request = ChatRequest(model="m", messages=[Message(content=content)])
        sent = (("check", json.dumps(check or {})), *metadata)
        return method(request, metadata=sent, timeout=DEADLINE_SECONDS)

    async def log_lines(self, request_id: str) -> list[dict[str, Any]]:
        """Return the access log's lines of one request, waiting until there is one."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                lines = self.envoy.access_log.read_text().splitlines()
                if mine := [json.loads(line) for line in lines if request_id in line]:
                    return mine
                await asyncio.sleep(0.02)  # Envoy writes its log on a timer; nothing tells when


@dataclass(frozen=True)
class KillablePart:
    """A part in a process of its own."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def killable_part(*arguments: str) -> AsyncIterator[KillablePart]:
    program = Path(__file__).with_name("fakes.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE_SECONDS)
        yield KillablePart(process, int(line))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running_envoy(folder: Path, router: int, *gateways: int, **settings: Any) -> AsyncIterator[Envoy]:
    port, admin_port, log = free_port(), free_port(), folder / "access.log"
    params = EnvoyParams(
        listen_host="127.0.0.1",
        listen_port=port,
        admin_host="127.0.0.1",
        admin_port=admin_port,
        gateways=tuple(("127.0.0.1", gateway) for gateway in gateways),
        routers=(("127.0.0.1", router),),
        access_log_path=str(log),
        **({"body_limit_bytes": BODY_LIMIT} | settings),
    )
    (folder / "envoy.yaml").write_text(render_bootstrap(params))
    with (folder / "envoy.log").open("wb") as stderr:
        arguments = ("-c", folder / "envoy.yaml", "--concurrency", "2", "--disable-hot-restart")
        flags = ("--log-level", "warning", "--file-flush-interval-msec", "20")
        process = await asyncio.create_subprocess_exec(binary(), *arguments, *flags, stderr=stderr)
    try:
        await _accepting(port)
        yield Envoy(
            process, f"http://127.0.0.1:{port}", f"127.0.0.1:{port}", log, f"http://127.0.0.1:{admin_port}"
        )
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), DEADLINE_SECONDS)


async def _accepting(port: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)  # a port can only be tried


def encoded(body: object) -> str:
    """Encode a complete error body as replicas send it in `x-weft-error`."""
    return base64.b64encode(json.dumps(body).encode()).decode()
