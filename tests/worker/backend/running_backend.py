"""A real backend process with a launch document, an agent's end of its socket, and a channel with tickets."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2

from tests.worker.backend.agent_end import WAIT_SECONDS, AgentEnd, agent_end
from weft_common.clock import SystemClock
from weft_common.mesh_auth import mesh_metadata
from weft_common.rpc import RpcClient, open_channel, stub
from weft_common.ticket import Ticket, replica_name, sign
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_proto.weft.backend.v1 import BackendServiceStub, LoadModelRequest, LoadModelResponse
from weft_proto.weft.types.v1 import Model
from weft_worker.backend.launch import LaunchDocument, LaunchedModel
from weft_worker.backend.lease import LeaseState

SECRET = "5e" * 32
COMPLETIONS = "/weft.dialect.v1.OpenAIService/CreateChatCompletion"
CHAT = "/weft.inference.v1.InferenceService/Chat"


class RunningBackend:
    """State: the process, and what its stderr said."""

    def __init__(
        self, document: LaunchDocument, process: asyncio.subprocess.Process, agent: AgentEnd
    ) -> None:
        self.document = document
        self.process = process
        self.agent = agent
        self.channel: Any = None
        self.address = ""
        self._sequence = itertools.count(1)

    def ticket(self, **changes: Any) -> str:
        """Sign a ticket that this process takes, unless changed."""
        document = self.document
        name = replica_name(
            document.model.name,
            document.index,
            document.model.revision,
            changes.get("id", document.replica_id),
        )
        expiry = SystemClock().wall() + changes.get("seconds", 60)
        return sign(Ticket("req-1", (name,), "alice", expiry), changes.get("secret", SECRET))

    def client(self, **metadata: str) -> RpcClient:
        """Make a client with a ticket and a fresh pick."""
        own = {
            "x-weft-ticket": self.ticket(),
            "x-weft-pick": f"gateway-a/{next(self._sequence)}",
            **metadata,
        }
        return RpcClient(self.channel, metadata=own, stream_timeout=WAIT_SECONDS)

    def completion(self, metadata: Mapping[str, str] | None = None, **fields: Any) -> Any:
        """Call the OpenAI dialect; the frames come as HttpBody."""
        body = orjson.dumps(
            {"model": "m", "messages": [{"role": "user", "content": fields.pop("say", "Hi")}], **fields}
        )
        return self.raw_completion(body, metadata)

    def raw_completion(self, body: bytes, metadata: Mapping[str, str] | None = None) -> Any:
        """Call the OpenAI dialect with any body."""
        request = httpbody_pb2.HttpBody(content_type="application/json", data=body)
        return self.client(**(metadata or {})).stream(COMPLETIONS, request, httpbody_pb2.HttpBody)

    def chat(self, say: str = "Hi", metadata: Mapping[str, str] | None = None, **sampling: Any) -> Any:
        """Call the typed api."""
        message = pb.Message(role=pb.ROLE_USER, content=say)
        request = pb.ChatRequest(model="m", messages=[message], sampling=pb.Sampling(**sampling))
        return self.typed(request, metadata)

    def typed(self, request: pb.ChatRequest, metadata: Mapping[str, str] | None = None) -> Any:
        """Call the typed api with any request."""
        return self.client(**(metadata or {})).stream(CHAT, request, pb.ChatResponse)

    def backend(self, secret: str = SECRET) -> BackendServiceStub:
        """Make a router's stub."""
        return stub(
            BackendServiceStub,
            self.channel,
            metadata=mesh_metadata(secret),
            timeout=WAIT_SECONDS,
            stream_timeout=WAIT_SECONDS,
        )

    async def load(self) -> list[LoadModelResponse]:
        """Load the model, as a router does."""
        model = self.document.model
        request = LoadModelRequest(model=Model(name=model.name, revision=model.revision))
        return [update async for update in self.backend().load_model(request)]

    async def until_serving(self, serving: bool) -> None:
        """Wait until health says so."""
        watch = RpcClient(self.channel, stream_timeout=WAIT_SECONDS).stream(
            "/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
        )
        async for answer in watch:
            if (answer.status == health_pb2.HealthCheckResponse.SERVING) is serving:
                return

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal."""
        os.kill(self.process.pid, number)

    async def exit_code(self) -> int:
        """Wait for the end."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.process.wait()

    def log(self) -> list[dict[str, Any]]:
        """Read the JSON lines that the process wrote so far."""
        lines = Path(self.document.agent_socket).with_name("backend.log").read_bytes().splitlines()
        return [orjson.loads(line) for line in lines if line.startswith(b"{")]


def launch_document(folder: Path, **fields: Any) -> LaunchDocument:
    """Describe a paced replica; `fields` replace parts of the document or, where they are its, of the model."""
    model = {
        "name": "m",
        "backend": "paced",
        "revision": "r1",
        "path": "",
        "context_size": 2048,
        "slot_count": 2,
        "max_queue_count": 2,
    }
    model |= {key: fields.pop(key) for key in [*fields] if key in LaunchedModel.model_fields}
    rest = {
        "replica_id": "replica-1",
        "node_id": "node-1",
        "node_name": "box",
        "index": 0,
        "listen": "127.0.0.1:0",
        "mesh_secret": SECRET,
        "agent_socket": str(folder / "agent.sock"),
        "lease_token": "token-1",
    }
    return LaunchDocument.model_validate({**rest, "model": model, **fields})


@asynccontextmanager
async def running_backend(
    folder: Path, *, loaded: bool = True, **fields: Any
) -> AsyncIterator[RunningBackend]:
    """Start a backend process; it is killed at the end if it still runs."""
    document = launch_document(folder, **fields)
    async with agent_end(document.agent_socket) as agent:
        with (folder / "backend.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "weft_worker.backend",
                stdin=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # as an agent does: its memory is that of its group
            )
        try:
            backend = RunningBackend(document, process, agent)
            assert process.stdin is not None
            process.stdin.write(document.to_line())
            backend.address = (await agent.hello()).address
            async with open_channel(backend.address) as backend.channel:
                if loaded:
                    await backend.load()
                    await agent.state(LeaseState.READY)
                yield backend
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
