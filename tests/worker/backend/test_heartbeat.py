"""Streams in which nothing happens for a while: their clients hear that the answer still comes."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from google.api import httpbody_pb2

from tests.worker.backend.running_backend import RunningBackend, running_backend
from weft_common.errors import EngineFailed

BEAT = b": still working\n\n"


async def _texts(call: Any) -> list[bytes]:
    return [frame.data async for frame in call]


async def test_a_silent_stream_beats_until_there_is_something_to_tell(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running_backend(tmp_path, heartbeat_seconds=0.1) as backend:
        stream = backend.completion(say=f"gate_file={gate} tokens=2", stream=True)
        first = await anext(stream)
        assert (first.data, first.content_type) == (BEAT, "text/event-stream")
        assert (await anext(stream)).data == BEAT
        gate.touch()
        rest = [text for text in await _texts(stream) if text != BEAT]
        assert b'"content":"t0' in rest[0]
        assert b"".join(rest).endswith(b"data: [DONE]\n\n")


async def test_what_fails_after_a_beat_is_told_in_the_stream_without_its_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running_backend(tmp_path, heartbeat_seconds=0.1) as backend:
        stream = backend.completion(say=f"gate_file={gate} fail_at=0", stream=True)
        assert (await anext(stream)).data == BEAT
        gate.touch()
        *_, last = await _texts(stream)
        event = last.strip().rpartition(b"data: ")[2]
        assert orjson.loads(event)["error"]["code"] == "engine_failed"


async def test_without_a_beat_a_failure_before_the_first_token_is_left_to_another_replica(
    tmp_path: Path,
) -> None:
    async with running_backend(tmp_path) as backend:
        with pytest.raises(EngineFailed):
            await _texts(backend.completion(say="fail_at=0", stream=True))


async def test_whole_answers_and_typed_streams_do_not_beat(tmp_path: Path) -> None:
    async with running_backend(tmp_path, heartbeat_seconds=0.05) as backend:
        (whole,) = await _texts(backend.completion(say="tokens=2 delay_ms=100"))
        assert orjson.loads(whole)["usage"]["completion_tokens"] == 2
        kinds = [m.WhichOneof("event") async for m in backend.chat("tokens=2 delay_ms=100")]
        assert None not in kinds


SLOW_CALL = "call_letters=30 delay_ms=15"
OLLAMA = "/weft.dialect.v1.OllamaService/Chat"


async def _ollama(backend: RunningBackend, say: str) -> list[Any]:
    asked = {
        "model": "m",
        "messages": [{"role": "user", "content": say}],
        "tools": [{"function": {"name": "write"}}],
    }
    body = httpbody_pb2.HttpBody(data=orjson.dumps(asked))
    frames = await _texts(backend.client().stream(OLLAMA, body, httpbody_pb2.HttpBody))
    return [orjson.loads(line) for line in b"".join(frames).splitlines()]


async def test_a_call_that_is_told_once_it_is_whole_beats_as_long_as_it_is_not(tmp_path: Path) -> None:
    custom = {"type": "custom", "custom": {"name": "write"}}
    async with running_backend(tmp_path, heartbeat_seconds=0.1) as backend:
        *beats, call, end = await _ollama(backend, SLOW_CALL)
        assert {beat["message"]["content"] for beat in beats} == {""}
        function = {"index": 0, "name": "write", "arguments": {"input": "a" * 30}}
        written = {"id": "call_1", "function": function}
        assert (call["message"]["tool_calls"], end["done"]) == ([written], True)
        said = await _texts(backend.completion(say=SLOW_CALL, stream=True, tools=[custom]))
    assert len(beats) >= 2  # in half a second, at least
    assert said.count(BEAT) >= 2
    assert said.index(BEAT) > 0  # what opens the answer comes with the first token
    assert b'"input":"' + b"a" * 30 in b"".join(said)
    assert b"".join(said).endswith(b"data: [DONE]\n\n")


async def test_what_fails_before_anything_was_told_is_left_to_another_replica(tmp_path: Path) -> None:
    async with running_backend(tmp_path) as backend:
        with pytest.raises(EngineFailed):
            await _ollama(backend, "call_letters=9 fail_at=5")
