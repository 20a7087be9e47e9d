"""A real backend process whose model thinks: thoughts are told apart from answers, where they are wanted."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.worker.backend.running_backend import RunningBackend, running_backend
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIGH = pb.Thinking(enabled=True, effort=pb.THINKING_EFFORT_HIGH)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """One process for all tests, which leave it as they found it."""
    fields: dict[str, Any] = {"options": {"thoughts": "2", "tokens": "2"}}
    async with running_backend(tmp_path_factory.mktemp("backend"), **fields) as backend:
        yield backend


@pytest.mark.parametrize(
    ("thinking", "thoughts"),
    [
        ({}, ["h0 ", "h1 "]),
        ({"thinking": pb.Thinking(enabled=False)}, []),
        ({"thinking": pb.Thinking(enabled=True)}, ["h0 ", "h1 "]),
        ({"thinking": HIGH}, [f"h{number} " for number in range(6)]),
    ],
)
async def test_a_model_thinks_as_much_as_it_shall(
    shared: RunningBackend, thinking: dict[str, pb.Thinking], thoughts: list[str]
) -> None:
    request = pb.ChatRequest(model="m", messages=[pb.Message(role=pb.ROLE_USER, content="Hi")], **thinking)
    steps = [step async for step in shared.typed(request)]
    assert [step.reasoning for step in steps if step.WhichOneof("event") == "reasoning"] == thoughts
    assert "".join(step.delta for step in steps) == "t0 t1 "
    usage = steps[-1].finish.usage
    assert (usage.reasoning_token_count, usage.completion_token_count) == (len(thoughts), len(thoughts) + 2)


async def test_openai_clients_find_thoughts_beside_the_answer(shared: RunningBackend) -> None:
    (frame,) = [frame async for frame in shared.completion()]
    answer = orjson.loads(frame.data)
    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("h0 h1 ", "t0 t1 ")
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2
    stream = b"".join([frame.data async for frame in shared.completion(stream=True)])
    chunks = [orjson.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta] == ["h0 ", "h1 "]
    assert "".join(delta.get("content") or "" for delta in deltas) == "t0 t1 "
