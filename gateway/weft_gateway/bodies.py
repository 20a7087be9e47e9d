"""Find what a request is for, without judging the rest: the replica checks the body it works on."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from google.api import httpbody_pb2
from google.protobuf.message import DecodeError

from weft_common.affinity import BLOCK_BYTES, MAX_BLOCKS
from weft_common.dialects import Dialect
from weft_common.errors import FieldViolation, InvalidRequest
from weft_common.purposes import Ability
from weft_gateway.model_tags import other_name
from weft_proto.pb.weft.inference.v1 import inference_service_pb2

_FRAME_HEADER = 5
# As much of a prompt as affinity looks at.
_PROMPT_BYTES = BLOCK_BYTES * MAX_BLOCKS
# Where a conversation begins. These words in quotes inside of a string have their quotes escaped, so they are not taken
# for the key.
_CONVERSATION = re.compile(rb'"(?:messages|prompt)"\s*:')
_NO_TIME = re.compile(r"0+(\.0*)?[a-z]*")
_LONG_VALUE = 16 * 1024
# What is as long as this is passed over; what is shorter is read as fast.
_LONG_BODY = 64 * 1024
# An object costs replicas a thousand times what its bytes do. No prompt has so many.
_MOST_VALUES = 1_000_000
# Who asks for more says nothing of use: it only tells short requests from long ones.
_MOST_TOKENS = 1_000_000
_REQUESTS: Mapping[Ability, Any] = {
    Ability.CHAT: inference_service_pb2.ChatRequest,
    Ability.COMPLETE: inference_service_pb2.CompleteRequest,
    Ability.EMBED: inference_service_pb2.EmbedRequest,
    Ability.RERANK: inference_service_pb2.RerankRequest,
    Ability.TOKENIZE: inference_service_pb2.TokenizeRequest,
}
# How providers say that a model has to be named; the others say it as OpenAI does.
_NAME_A_MODEL: Mapping[Dialect, str] = {
    Dialect.ANTHROPIC: "model: Field required",
    Dialect.OLLAMA: "model is required",
}
# What has a prompt, and is answered by tokens.
_WRITES = frozenset({Ability.CHAT, Ability.COMPLETE})


class _Head(msgspec.Struct):
    """As they came: only what is short is looked into."""

    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    system: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    max_tokens: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    max_completion_tokens: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    options: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    keep_alive: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class _Long:
    """A value that was not read, and its beginning."""

    beginning: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks for: the model, and how many tokens it takes at most, 0 if it does not say.

    `prompt` is the beginning of the conversation; empty where nothing is kept of it. `alias` is how else the same
    model may be called. One that only `lets_go` asks nothing of its model but to be unloaded.
    """

    model: str
    max_token_count: int = 0
    prompt: bytes = b""
    alias: str = ""
    lets_go: bool = False


def question_of_json(
    body: bytes, dialect: Dialect = Dialect.OPENAI, ability: Ability = Ability.CHAT
) -> Question:
    """What a JSON body asks for; raises InvalidRequest that says what is wrong with its `model`."""
    if not body:
        raise InvalidRequest("The request has no body: send a JSON object that names a 'model'.")
    document = _document(body)
    model = document.get("model")
    if model is None or model == "":
        raise _bad_model(_NAME_A_MODEL.get(dialect, "you must provide a model parameter"))
    if not isinstance(model, str):
        raise _bad_model("model: Input should be a valid string")
    alias = other_name(model)
    if ability not in _WRITES:
        return Question(model, alias=alias)
    limit = _LIMITS.get(dialect, _openai_limit)(document)
    prompt = _beginning(document.get("system"), body)
    return Question(model, limit, prompt, alias, dialect is Dialect.OLLAMA and _lets_go(document))


def question_of_framed_json(body: bytes, dialect: Dialect, ability: Ability) -> Question:
    """The same for a JSON body that travels as google.api.HttpBody in a gRPC call."""
    try:
        carried = httpbody_pb2.HttpBody.FromString(_message_of(body))
    except DecodeError as error:
        raise InvalidRequest("The message is not what its proto says.") from error
    return question_of_json(carried.data, dialect, ability)


def question_of_frame(body: bytes, metadata: Mapping[str, str], ability: Ability = Ability.CHAT) -> Question:
    """What a gRPC call asks for: the model of metadata `x-weft-model`, or the field of the one message in its frame.

    Its prompt is the beginning of the message, where the model and the conversation are.
    """
    named = metadata.get("x-weft-model")
    if named:
        return Question(named, prompt=_frame_prompt(body, ability), alias=other_name(named))
    try:
        request = _REQUESTS[ability].FromString(_message_of(body))
    except DecodeError as error:
        raise InvalidRequest("The message is not what its proto says.") from error
    if not request.model:
        raise _bad_model("model: name a model in the message or in metadata x-weft-model")
    alias = other_name(request.model)
    if ability not in _WRITES:
        return Question(request.model, alias=alias)
    limit = min(request.sampling.max_tokens, _MOST_TOKENS)
    return Question(request.model, limit, _frame_prompt(body, ability), alias)


def _document(body: bytes) -> Mapping[str, Any]:
    """The fields that are looked at here, of which a body of 64 MiB has a few bytes; the others are passed over."""
    if len(body) > _MOST_VALUES and body.count(b"{") + body.count(b"[") > _MOST_VALUES:
        raise InvalidRequest(f"The body has more than {_MOST_VALUES} objects and lists.")
    try:
        document = orjson.loads(body) if len(body) < _LONG_BODY else _passed_over(body)
    except (orjson.JSONDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return document


def _passed_over(body: bytes) -> Mapping[str, Any] | None:
    try:
        head = msgspec.json.decode(body, type=_Head)
    except msgspec.ValidationError:
        return None
    return {
        name: _value(raw)
        for name in _Head.__struct_fields__
        if not isinstance(raw := getattr(head, name), msgspec.UnsetType)
    }


def _value(raw: msgspec.Raw) -> Any:
    """What a field holds; of one that is long only that it holds something."""
    data = memoryview(raw)
    return _Long(bytes(data[:_PROMPT_BYTES])) if len(data) > _LONG_VALUE else orjson.loads(data)


def _beginning(system: Any, body: bytes) -> bytes:
    """What comes first in a prompt: what the model is told beside the conversation, then that, as it was sent.

    What stands before it in the body may differ from call to call.
    """
    found = _CONVERSATION.search(body)
    if found is None:
        return b""
    said = body[found.start() : found.start() + _PROMPT_BYTES]
    if not system:
        return said
    if isinstance(system, _Long):
        return system.beginning
    try:
        return (orjson.dumps(system) + said)[:_PROMPT_BYTES]
    except orjson.JSONEncodeError:  # it writes no more than 254 levels, and reads 1,024
        return said


def _frame_prompt(body: bytes, ability: Ability) -> bytes:
    return b"" if ability not in _WRITES else body[_FRAME_HEADER : _FRAME_HEADER + _PROMPT_BYTES]


def _lets_go(document: Mapping[str, Any]) -> bool:
    """Whether there is nothing to answer, and the model is to stay for no time."""
    if document.get("messages") or document.get("prompt"):
        return False
    stay = document.get("keep_alive")
    if isinstance(stay, str):
        return _NO_TIME.fullmatch(stay.strip()) is not None
    return stay == 0 and not isinstance(stay, bool)


def _openai_limit(document: Mapping[str, Any]) -> int:
    return _count(document.get("max_completion_tokens")) or _count(document.get("max_tokens"))


def _ollama_limit(document: Mapping[str, Any]) -> int:
    options = document.get("options")
    return _count(options.get("num_predict")) if isinstance(options, dict) else 0


_LIMITS: Mapping[Dialect, Callable[[Mapping[str, Any]], int]] = {Dialect.OLLAMA: _ollama_limit}


def _message_of(frame: bytes) -> bytes:
    if len(frame) < _FRAME_HEADER:
        raise InvalidRequest("The call carries no message.")
    if frame[0] != 0:
        raise InvalidRequest("Compressed messages are not taken: send this call without compression.")
    size = int.from_bytes(frame[1:_FRAME_HEADER], "big")
    if len(frame) != _FRAME_HEADER + size:
        raise InvalidRequest("The call must carry exactly one message.")
    return frame[_FRAME_HEADER:]


def _bad_model(problem: str) -> InvalidRequest:
    return InvalidRequest(problem, violations=[FieldViolation("model", problem)])


def _count(value: Any) -> int:
    """A number of tokens, if it is one; the replica judges what it is otherwise."""
    return min(value, _MOST_TOKENS) if type(value) is int and value > 0 else 0
