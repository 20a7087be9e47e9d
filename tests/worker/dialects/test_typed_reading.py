"""Embed, Rerank and Tokenize to and from an engine's words."""

from array import array
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from weft_common.errors import InvalidRequest
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.dialects.texts import MAX_TEXT_BYTES
from weft_worker.dialects.typed import read_keep_alive
from weft_worker.dialects.typed_reading import (
    Reranking,
    read_embed_request,
    read_rerank_request,
    read_tokenize_request,
    write_embed_response,
    write_rerank_response,
    write_tokenize_response,
)
from weft_worker.engines.abilities import Conversation, Score, Tokens
from weft_worker.engines.base import Effort, Message, Role, Thinking, Tool

TOO_LONG = "x" * (MAX_TEXT_BYTES + 1)
WIDE = "é" * (MAX_TEXT_BYTES // 2 + 1)


def embed(*texts: str, **fields: Any) -> pb.EmbedRequest:
    return pb.EmbedRequest(model="m", inputs=[pb.EmbedInput(text=text) for text in texts], **fields)


def rerank(query: str, *documents: str, **fields: Any) -> pb.RerankRequest:
    return pb.RerankRequest(model="m", query=query, documents=documents, **fields)


def test_inputs_are_texts_or_tokens() -> None:
    request = embed("a cat", keep_alive=Duration(seconds=9))
    request.inputs.add(tokens=pb.TokenIds(ids=[7, 8]))
    assert read_embed_request(request) == ("a cat", (7, 8))
    assert read_keep_alive(request) == 9


def test_as_many_inputs_as_openai_takes_are_taken() -> None:
    assert len(read_embed_request(embed(*["x"] * 2048))) == 2048


def test_all_documents_are_told_unless_fewer_are_asked_for() -> None:
    assert read_rerank_request(rerank("q", "a", "b")) == Reranking("q", ("a", "b"), 2)
    assert read_rerank_request(rerank("q", "a", "b", top_n=1)) == Reranking("q", ("a", "b"), 1)


def test_a_conversation_is_counted_with_its_tools() -> None:
    told = pb.Conversation(
        messages=[pb.Message(role=pb.ROLE_USER, content="Hi")],
        tools=[pb.Tool(name="f", description="d")],
        thinking=pb.Thinking(enabled=True, effort=pb.THINKING_EFFORT_LOW),
    )
    assert read_tokenize_request(pb.TokenizeRequest(model="m", conversation=told)) == Conversation(
        (Message(Role.USER, "Hi"),), (Tool("f", "d"),), Thinking(effort=Effort.LOW)
    )
    assert read_tokenize_request(pb.TokenizeRequest(model="m", text="")) == ""


@pytest.mark.parametrize(
    ("read", "request_", "field"),
    [
        (read_embed_request, embed(), "inputs"),
        (read_embed_request, embed(*["x"] * 2049), "inputs"),
        (read_embed_request, embed("x", ""), "inputs.1.text"),
        (read_embed_request, embed(TOO_LONG), "inputs.0.text"),
        (read_embed_request, embed(WIDE), "inputs.0.text"),
        (read_embed_request, pb.EmbedRequest(inputs=[pb.EmbedInput()]), "inputs.0"),
        (read_embed_request, pb.EmbedRequest(inputs=[pb.EmbedInput(tokens=pb.TokenIds())]), "inputs.0"),
        (read_rerank_request, rerank("", "a"), "query"),
        (read_rerank_request, rerank("q"), "documents"),
        (read_rerank_request, rerank("q", *["x"] * 2049), "documents"),
        (read_rerank_request, rerank("q", "a", ""), "documents.1"),
        (read_rerank_request, rerank("q", "a", top_n=0), "top_n"),
        (read_tokenize_request, pb.TokenizeRequest(), "input"),
        (read_tokenize_request, pb.TokenizeRequest(text=TOO_LONG), "text"),
        (read_tokenize_request, pb.TokenizeRequest(text="x" * (2**18 + 1), with_pieces=True), "text"),
        (read_tokenize_request, pb.TokenizeRequest(conversation=pb.Conversation()), "messages"),
        (
            read_tokenize_request,
            pb.TokenizeRequest(
                conversation=pb.Conversation(
                    messages=[pb.Message(role=pb.ROLE_USER, content="Hi")],
                    thinking=pb.Thinking(effort=9),  # type: ignore[arg-type]
                )
            ),
            "thinking.effort",
        ),
        (
            read_tokenize_request,
            pb.TokenizeRequest(
                conversation=pb.Conversation(messages=[pb.Message(role=pb.ROLE_USER, content=TOO_LONG)])
            ),
            "conversation",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(
    read: Callable[[Any], Any], request_: Any, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(request_)
    assert [violation.field for violation in refused.value.violations] == [field]
    assert len(refused.value.message) < 500


def test_vectors_are_packed_floats() -> None:
    written = write_embed_response([array("f", [0.6, 0.8])], 3)
    assert [list(embedding.values) for embedding in written.embeddings] == [pytest.approx([0.6, 0.8])]
    assert written.usage == pb.Usage(prompt_token_count=3)


def test_the_best_come_first_and_equal_ones_in_the_order_of_the_request() -> None:
    scores = [Score(0.2, 1), Score(0.5, 2), Score(0.2, 3), Score(0.5, 4)]
    written = write_rerank_response(scores, 3)
    assert [result.index for result in written.results] == [1, 3, 0]
    assert written.usage.prompt_token_count == 10


def test_tokens_are_told_with_their_count() -> None:
    assert write_tokenize_response(Tokens((5, 6), (b"a", b"\xff"))) == pb.TokenizeResponse(
        token_count=2, ids=[5, 6], pieces=[b"a", b"\xff"]
    )
