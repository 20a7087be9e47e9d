"""A real backend process asked for completions in OpenAI's words: several prompts, echoes, streams, refusals."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from tests.worker.backend.running_backend import RunningBackend, running_backend
from weft_common.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, WeftError

RPC = "/weft.dialect.v1.OpenAIService/CreateCompletion"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """One process for all tests, which leave it as they found it."""
    fields: dict[str, Any] = {"context_size": 64, "slot_count": 2, "max_queue_count": 1}
    async with running_backend(tmp_path_factory.mktemp("backend"), **fields) as backend:
        yield backend


async def frames(backend: RunningBackend, rpc: str = RPC, **fields: Any) -> Sequence[bytes]:
    body = httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps({"model": "m", **fields}))
    told = backend.client().stream(rpc, body, httpbody_pb2.HttpBody)
    return [frame.data async for frame in told]


async def ask(backend: RunningBackend, **fields: Any) -> dict[str, Any]:
    (frame,) = await frames(backend, **fields)
    answer: dict[str, Any] = orjson.loads(frame)
    return answer


async def events(backend: RunningBackend, **fields: Any) -> list[Any]:
    lines = b"".join(await frames(backend, stream=True, **fields)).decode().split("\n\n")[:-1]
    return [text if (text := line[6:]) == "[DONE]" else orjson.loads(text) for line in lines]


async def test_more_answers_than_slots_come_in_order_and_each_prompt_counts_once(
    shared: RunningBackend,
) -> None:
    answer = await ask(shared, prompt=["one two", "one"] * 10, n=2, max_tokens=2, echo=True)
    assert [choice["index"] for choice in answer["choices"]] == [*range(40)]
    texts = [choice["text"] for choice in answer["choices"]]
    assert texts == ["one twot0 t1 ", "one twot0 t1 ", "onet0 t1 ", "onet0 t1 "] * 10
    assert answer["usage"]["completion_tokens"] == 80
    assert answer["usage"]["prompt_tokens"] == 30
    line = [line for line in shared.log() if line["event"] == "request_ended"][-1]
    assert (line["rpc"], line["prompt_token_count"], line["completion_token_count"]) == (
        "CreateCompletion",
        30,
        80,
    )
    await shared.agent.load(lambda load: (load.in_flight, load.queued) == (0, 0))


async def test_a_stream_tells_every_answer_and_one_end(shared: RunningBackend) -> None:
    told = await events(
        shared, prompt=["one", "two"], max_tokens=2, echo=True, stream_options={"include_usage": True}
    )
    assert told[-1] == "[DONE]"
    assert told[-2]["usage"]["total_tokens"] == 6
    texts = {0: "", 1: ""}
    for event in told[:-2]:
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["text"]
    assert texts == {0: "onet0 t1 ", 1: "twot0 t1 "}
    ends = [event["choices"][0]["finish_reason"] for event in told[:-2]]
    assert (ends.count("length"), set(ends)) == (2, {"length", None})


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"prompt": []}, InvalidRequest, "prompt"),
        ({"prompt": "a", "best_of": 2}, InvalidRequest, "best_of"),
        ({"prompt": "a", "suffix": "b"}, InvalidRequest, "suffix"),
        ({"prompt": [1, 999_999]}, InvalidRequest, "prompt"),
        ({"prompt": "word " * 65}, ContextLengthExceeded, "prompt"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_field(
    shared: RunningBackend, fields: dict[str, Any], error: type[WeftError], field: str
) -> None:
    with pytest.raises(error) as caught:
        await ask(shared, **fields)
    assert caught.value.violations[0].field == field


async def test_a_failure_after_the_first_text_is_told_in_the_stream_without_an_end(tmp_path: Path) -> None:
    async with running_backend(tmp_path, options={"fail_at": "2"}) as backend:
        told = await events(backend, prompt="a", max_tokens=5)
        assert [event["choices"][0]["text"] for event in told[:-1]] == ["t0 ", "t1 "]
        assert told[-1]["error"]["code"] == "engine_failed"
        with pytest.raises(EngineFailed):
            await ask(backend, prompt="a", max_tokens=5)
