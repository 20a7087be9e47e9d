"""Embed, Rerank and Tokenize of weft.inference.v1: checked on the way in, encoded on the way out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from weft_common.errors import FieldViolation, InvalidRequest
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.dialects import typed
from weft_worker.dialects.ranking import best_first
from weft_worker.dialects.texts import (
    MAX_BYTES_WITH_PIECES,
    MAX_INPUT_COUNT,
    MAX_TEXT_BYTES,
    is_too_large,
    too_large,
)
from weft_worker.engines.abilities import Conversation, Input, Score, Tokens, Vector
from weft_worker.engines.base import Message


@dataclass(frozen=True, slots=True)
class Reranking:
    """A query, its documents, and how many of the best are told."""

    query: str
    documents: tuple[str, ...]
    top_n: int


def read_embed_request(request: pb.EmbedRequest) -> tuple[Input, ...]:
    """Give the inputs; raises InvalidRequest that names the fields."""
    typed.refuse([*_count("inputs", len(request.inputs)), *_input_violations(request)])
    return tuple(
        given.text if given.WhichOneof("kind") == "text" else tuple(given.tokens.ids)
        for given in request.inputs
    )


def read_rerank_request(request: pb.RerankRequest) -> Reranking:
    """Give the request as an engine has it; raises InvalidRequest that names the fields."""
    violations = [
        *_text("query", request.query),
        *_count("documents", len(request.documents)),
        *_texts("documents", request.documents),
    ]
    if request.HasField("top_n") and request.top_n < 1:
        violations.append(FieldViolation("top_n", "Should be 1 at least"))
    typed.refuse(violations)
    documents = tuple(request.documents)
    return Reranking(request.query, documents, request.top_n if request.HasField("top_n") else len(documents))


def read_tokenize_request(request: pb.TokenizeRequest) -> str | Conversation:
    """Give what is counted; raises InvalidRequest that names the fields."""
    match request.WhichOneof("input"):
        case "text":
            typed.refuse(_size("text", request.text, _most_bytes(request)))
            return request.text
        case "conversation":
            return _conversation(request.conversation, _most_bytes(request))
        case _:
            text = "Should have a text or a conversation"
            raise InvalidRequest(f"input: {text}.", violations=[FieldViolation("input", text)])


def write_embed_response(vectors: Iterable[Sequence[float]], token_count: int) -> pb.EmbedResponse:
    """Encode vectors."""
    embeddings = (pb.Embedding(values=values) for values in vectors)
    return pb.EmbedResponse(embeddings=embeddings, usage=pb.Usage(prompt_token_count=token_count))


def write_rerank_response(scores: Sequence[Score], top_n: int) -> pb.RerankResponse:
    """Encode scores, the best first, equal ones in the order of the documents."""
    results = (pb.RankedDocument(index=index, score=score) for index, score in best_first(scores, top_n))
    usage = pb.Usage(prompt_token_count=sum(score.token_count for score in scores))
    return pb.RerankResponse(results=results, usage=usage)


def write_tokenize_response(tokens: Tokens) -> pb.TokenizeResponse:
    """Encode tokens."""
    return pb.TokenizeResponse(token_count=len(tokens.ids), ids=tokens.ids, pieces=tokens.pieces)


def token_count(read: Iterable[Vector]) -> int:
    """Tokens of all inputs."""
    return sum(vector.token_count for vector in read)


def _most_bytes(request: pb.TokenizeRequest) -> int:
    return MAX_BYTES_WITH_PIECES if request.with_pieces else MAX_TEXT_BYTES


def _conversation(conversation: pb.Conversation, most: int) -> Conversation:
    messages, tools = typed.read_conversation(conversation.messages, conversation.tools)
    if any(message.parts for message in messages):
        typed.refuse(
            [FieldViolation("conversation", "Should have no images: how many tokens they are is not known")]
        )
    typed.refuse(typed.thinking_violations(conversation))
    read = Conversation(messages, tools, typed.read_thinking(conversation))
    if size_of(read) > most:
        typed.refuse([FieldViolation("conversation", too_large(most))])
    return read


def size_of(conversation: Conversation) -> int:
    """How many letters there are to read."""
    said = sum(len(_said(message)) for message in conversation.messages)
    return said + sum(len(f"{tool.name}{tool.description}{tool.parameters}") for tool in conversation.tools)


def _said(message: Message) -> str:
    return message.content + "".join(call.arguments for call in message.tool_calls)


def _input_violations(request: pb.EmbedRequest) -> Iterator[FieldViolation]:
    for index, given in enumerate(request.inputs):
        match given.WhichOneof("kind"):
            case "text":
                yield from _text(f"inputs.{index}.text", given.text)
            case "tokens" if given.tokens.ids:
                yield from _size(f"inputs.{index}.tokens", given.tokens.ids)
            case _:
                yield FieldViolation(f"inputs.{index}", "Should have a text or tokens")


def _texts(field: str, texts: Iterable[str]) -> Iterator[FieldViolation]:
    for index, text in enumerate(texts):
        yield from _text(f"{field}.{index}", text)


def _text(field: str, text: str) -> Iterator[FieldViolation]:
    if not text:
        yield FieldViolation(field, "Should not be empty")
    yield from _size(field, text)


def _size(field: str, text: Sequence[object], most: int = MAX_TEXT_BYTES) -> Iterator[FieldViolation]:
    if is_too_large(text, most):
        yield FieldViolation(field, too_large(most))


def _count(field: str, count: int) -> Iterator[FieldViolation]:
    if not 1 <= count <= MAX_INPUT_COUNT:
        yield FieldViolation(field, f"Should be 1 to {MAX_INPUT_COUNT:,}")
