"""A real backend process of an embedding model, asked over REST in the words of OpenAI, Jina, Cohere and LocalAI."""

import struct
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from tests.worker.backend.running_backend import RunningBackend, running_backend
from weft_common.errors import ContextLengthExceeded, InvalidRequest, WeftError

CONTEXT = 64
EMBEDDINGS, TOKENIZE = "OpenAIService/CreateEmbedding", "LocalAIService/Tokenize"
JINA, COHERE = "JinaService/Rerank", "CohereService/Rerank"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """One process for all tests, which leave it as they found it."""
    fields: dict[str, Any] = {"purpose": "embedding", "context_size": CONTEXT}
    async with running_backend(tmp_path_factory.mktemp("backend"), **fields) as backend:
        yield backend


async def ask(backend: RunningBackend, rpc: str, **fields: Any) -> dict[str, Any]:
    body = httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps({"model": "m", **fields}))
    frames = backend.client().stream(f"/weft.dialect.v1.{rpc}", body, httpbody_pb2.HttpBody)
    (frame,) = [frame async for frame in frames]
    assert frame.content_type == "application/json"
    answer: dict[str, Any] = orjson.loads(frame.data)
    return answer


async def test_vectors_are_the_same_as_numbers_and_as_bytes(shared: RunningBackend) -> None:
    numbers = await ask(shared, EMBEDDINGS, input=["a cat", "zzz"], dimensions=3)
    assert [each["index"] for each in numbers["data"]] == [0, 1]
    assert numbers["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    told = await ask(shared, EMBEDDINGS, input="a cat", dimensions=3, encoding_format="base64")
    vector = struct.unpack("<3f", b64decode(told["data"][0]["embedding"]))
    assert vector == pytest.approx(numbers["data"][0]["embedding"], abs=1e-6)
    tokens = await ask(shared, EMBEDDINGS, input=[[1, 2], [3]])
    assert len(tokens["data"]) == 2


async def test_documents_come_in_order_in_both_dialects(shared: RunningBackend) -> None:
    asked: dict[str, Any] = {"query": "cats", "documents": ["zzz", "cats", "cat"], "top_n": 2}
    jina = await ask(shared, JINA, **asked)
    cohere = await ask(shared, COHERE, **asked)
    assert [result["index"] for result in jina["results"]] == [1, 2]
    assert jina["results"][0]["document"] == {"text": "cats"}
    scores = [result["relevance_score"] for result in jina["results"]]
    assert cohere["results"] == [
        {"index": index, "relevance_score": score} for index, score in zip([1, 2], scores, strict=True)
    ]
    assert (jina["usage"]["total_tokens"], cohere["meta"]["tokens"]) == (4, {"input_tokens": 4})


async def test_tokens_are_told(shared: RunningBackend) -> None:
    answer = await ask(shared, TOKENIZE, content="three small words", return_token_strs=True)
    assert (answer["count"], len(answer["tokens"])) == (3, 3)
    assert answer["token_strs"] == ["three", "small", "words"]


@pytest.mark.parametrize(
    ("rpc", "fields", "error", "field"),
    [
        (EMBEDDINGS, {}, InvalidRequest, "input"),
        (EMBEDDINGS, {"input": "word " * (CONTEXT + 1)}, ContextLengthExceeded, "input"),
        (EMBEDDINGS, {"input": ["a", "word " * (CONTEXT + 1)]}, ContextLengthExceeded, "input.1"),
        (EMBEDDINGS, {"input": [[1], [100_000]]}, InvalidRequest, "input.1"),
        (EMBEDDINGS, {"input": "a", "dimensions": 27}, InvalidRequest, "dimensions"),
        (JINA, {"query": "q"}, InvalidRequest, "documents"),
        (JINA, {"query": "q", "documents": ["word " * (CONTEXT + 1)]}, ContextLengthExceeded, "documents.0"),
        (COHERE, {"documents": ["a"]}, InvalidRequest, "query"),
        (TOKENIZE, {"messages": []}, InvalidRequest, "messages"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_field(
    shared: RunningBackend, rpc: str, fields: dict[str, Any], error: type[WeftError], field: str
) -> None:
    with pytest.raises(error) as caught:
        await ask(shared, rpc, **fields)
    assert caught.value.violations[0].field == field


async def test_a_chat_model_makes_no_vectors(tmp_path: Path) -> None:
    async with running_backend(tmp_path) as backend:
        with pytest.raises(InvalidRequest, match="'m' answers conversations and cannot make embeddings"):
            await ask(backend, EMBEDDINGS, input="a")
