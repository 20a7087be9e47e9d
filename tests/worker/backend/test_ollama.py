"""A real backend process that is asked as Ollama's clients ask."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from tests.worker.backend.running_backend import RunningBackend, running_backend
from weft_common.errors import ContextLengthExceeded, EngineFailed, InvalidRequest
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

SERVICE = "/weft.dialect.v1.OllamaService"
SAY = {"role": "user", "content": "Say something"}
FIGURES = {
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chatty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """One process for all tests that leave it as they found it."""
    async with running_backend(tmp_path_factory.mktemp("backend"), options={"delay_ms": "2"}) as backend:
        yield backend


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """The same of a model that makes vectors."""
    fields: dict[str, Any] = {"purpose": "embedding", "context_size": 8, "options": {"delay_ms": "2"}}
    async with running_backend(tmp_path_factory.mktemp("backend"), **fields) as backend:
        yield backend


async def frames(backend: RunningBackend, rpc: str, **fields: Any) -> list[Any]:
    body = httpbody_pb2.HttpBody(
        content_type="application/json", data=orjson.dumps({"model": "m:latest", **fields})
    )
    client = backend.client()
    return [frame async for frame in client.stream(f"{SERVICE}/{rpc}", body, httpbody_pb2.HttpBody)]


async def lines(backend: RunningBackend, rpc: str, **fields: Any) -> list[Any]:
    told = await frames(backend, rpc, **fields)
    assert told[0].content_type == "application/x-ndjson"
    data = b"".join(frame.data for frame in told)
    assert data.endswith(b"\n")
    return [orjson.loads(line) for line in data.splitlines()]


async def whole(backend: RunningBackend, rpc: str, **fields: Any) -> Any:
    (frame,) = await frames(backend, rpc, **fields)
    assert frame.content_type == "application/json; charset=utf-8"
    assert b"\n" not in frame.data
    return orjson.loads(frame.data)


async def test_a_conversation_is_streamed_unless_told_otherwise(chatty: RunningBackend) -> None:
    told = await lines(chatty, "Chat", messages=[SAY], options={"num_predict": 3})
    assert [line["message"] for line in told] == [
        {"role": "assistant", "content": text} for text in ("t0 ", "t1 ", "t2 ", "")
    ]
    assert [line["done"] for line in told] == [False, False, False, True]
    assert {line["model"] for line in told} == {"m:latest"}
    last = told[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("length", 2, 3)
    assert last["total_duration"] >= last["eval_duration"] + last["prompt_eval_duration"] > 0


async def test_a_conversation_as_one_object(chatty: RunningBackend) -> None:
    told = await whole(chatty, "Chat", messages=[SAY], stream=False, options={"num_predict": 2})
    assert told["message"] == {"role": "assistant", "content": "t0 t1 "}
    assert told["done"] is True
    assert set(told) == {"model", "created_at", "message", "done", "done_reason", *FIGURES}


async def test_a_prompt_with_the_tokens_of_all_that_was_said(chatty: RunningBackend) -> None:
    fields = {"prompt": "Say something", "options": {"num_predict": 2}}
    *parts, last = await lines(chatty, "Generate", **fields)
    assert [part["response"] for part in parts] == ["t0 ", "t1 "]
    told = await whole(chatty, "Generate", stream=False, **fields)
    assert (told["response"], told["done_reason"]) == ("t0 t1 ", "length")
    assert told["context"] == last["context"]
    assert len(told["context"]) == 4
    again = await whole(chatty, "Generate", stream=False, context=told["context"], **fields)
    assert again["prompt_eval_count"] == 6
    assert again["context"][:4] == told["context"]


async def test_a_raw_prompt_goes_to_the_model_as_it_is(chatty: RunningBackend) -> None:
    told = await whole(
        chatty, "Generate", prompt="Go on", raw=True, stream=False, options={"num_predict": 1, "stop": "x"}
    )
    assert (told["response"], told["prompt_eval_count"]) == ("t0 ", 2)
    assert "context" not in told


async def test_thoughts_are_told_apart(chatty: RunningBackend) -> None:
    fields = {"messages": [{**SAY, "content": "thoughts=2"}], "options": {"num_predict": 1}}
    told = await lines(chatty, "Chat", **fields)
    assert [line["message"].get("thinking") for line in told] == ["h0 ", "h1 ", None, None]
    assert [line["message"]["content"] for line in told] == ["", "", "t0 ", ""]
    whole_one = await whole(chatty, "Chat", stream=False, **fields)
    assert whole_one["message"] == {"role": "assistant", "content": "t0 ", "thinking": "h0 h1 "}
    said = await whole(chatty, "Generate", prompt="thoughts=2", stream=False, options={"num_predict": 1})
    assert (said["response"], said["thinking"]) == ("t0 ", "h0 h1 ")
    without = await whole(chatty, "Chat", stream=False, think=False, **fields)
    assert without["message"] == {"role": "assistant", "content": "t0 "}


async def test_who_cannot_think_says_so(chatty: RunningBackend) -> None:
    with pytest.raises(InvalidRequest, match='"m:latest" does not support thinking'):
        await frames(chatty, "Chat", messages=[SAY], think="low")


@pytest.mark.parametrize("rpc", ["Chat", "Generate"])
async def test_a_request_for_nothing_loads_or_unloads(chatty: RunningBackend, rpc: str) -> None:
    started = (await chatty.agent.load(lambda load: load.in_flight == 0)).started
    told = await whole(chatty, rpc, keep_alive="5m")
    assert (told["done"], told["done_reason"]) == (True, "load")
    load = await chatty.agent.load(lambda load: load.keep_alive_seconds == 300)
    assert load.started > started  # so that its idle time begins again
    told = await whole(chatty, rpc, keep_alive=0)
    assert (told["done"], told["done_reason"]) == (True, "unload")
    await chatty.agent.load(lambda load: load.keep_alive_seconds == 0)


async def test_a_failure_before_the_first_token_is_told_in_ollamas_words(chatty: RunningBackend) -> None:
    with pytest.raises(InvalidRequest, match=r"options\.temperature"):
        await frames(chatty, "Chat", messages=[SAY], options={"temperature": 9})
    with pytest.raises(EngineFailed):
        await frames(chatty, "Chat", messages=[{**SAY, "content": "fail_at=0"}])


async def test_a_failure_behind_it_is_a_line_with_an_error_and_the_last(chatty: RunningBackend) -> None:
    told = await lines(chatty, "Chat", messages=[{**SAY, "content": "fail_at=2"}])
    assert [line.get("done") for line in told] == [False, False, None]
    assert list(told[-1]) == ["error"]


async def test_vectors_are_those_of_the_typed_api(embedder: RunningBackend) -> None:
    told = await whole(embedder, "Embed", input=["a cat", "zzz"])
    request = pb.EmbedRequest(model="m", inputs=[pb.EmbedInput(text=text) for text in ("a cat", "zzz")])
    typed = await embedder.client().unary(
        "/weft.inference.v1.InferenceService/Embed", request, pb.EmbedResponse, timeout=10
    )
    assert told["embeddings"] == [list(embedding.values) for embedding in typed.embeddings]
    assert told["prompt_eval_count"] == typed.usage.prompt_token_count == 3
    assert set(told) == {"model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"}
    older = await whole(embedder, "Embeddings", prompt="zzz")
    assert older == {"embedding": told["embeddings"][1]}


async def test_no_text_has_no_vector(embedder: RunningBackend) -> None:
    assert (await whole(embedder, "Embed"))["embeddings"] == []
    assert await whole(embedder, "Embeddings") == {"embedding": []}


async def test_what_is_too_long_is_cut_unless_it_must_not_be(embedder: RunningBackend) -> None:
    texts = ["zzz", "a b c d e f g h i j k l"]  # of twelve words eight fit, less two that models add
    told = await whole(embedder, "Embed", input=texts)
    assert told["prompt_eval_count"] == 1 + 6
    beginning = await whole(embedder, "Embed", input="a b c d e f")
    assert told["embeddings"][1] == beginning["embeddings"][0]
    with pytest.raises(ContextLengthExceeded, match=r"input\.1 resulted in 12 tokens"):
        await frames(embedder, "Embed", input=texts, truncate=False)


async def test_shortened_vectors(embedder: RunningBackend) -> None:
    (vector,) = (await whole(embedder, "Embed", input="abcxyz", dimensions=3))["embeddings"]
    assert vector == pytest.approx([3**-0.5] * 3, abs=1e-4)
    with pytest.raises(InvalidRequest, match="dimensions"):
        await frames(embedder, "Embed", input="a", dimensions=1000)
