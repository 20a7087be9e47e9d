"""How long a replica is to stay is what the latest request that said so wished, whatever it speaks."""

from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tests.worker.backend.running_backend import running_backend
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

USER = pb.Message(role=pb.ROLE_USER, content="Hi")


async def _end(call: Any) -> None:
    async for _ in call:
        pass


async def test_the_latest_wish_is_told_to_the_agent(tmp_path: Path) -> None:
    async with running_backend(tmp_path) as backend:
        await _end(backend.completion(keep_alive="5m"))
        await backend.agent.load(lambda load: load.keep_alive_seconds == 300)
        await _end(backend.typed(pb.ChatRequest(model="m", messages=[USER], keep_alive=Duration(seconds=90))))
        await backend.agent.load(lambda load: load.keep_alive_seconds == 90)
        await _end(backend.chat())
        await backend.agent.load(lambda load: (load.ended, load.keep_alive_seconds) == (3, 90))
        await _end(backend.typed(pb.ChatRequest(model="m", messages=[USER], keep_alive=Duration(seconds=-1))))
        await backend.agent.load(lambda load: load.keep_alive_seconds == -1)
