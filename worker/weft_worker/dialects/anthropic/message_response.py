"""Anthropic's answers to a conversation, byte for byte: one object, or server-sent events."""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from weft_common.dialect_errors import error_body
from weft_common.dialects import Dialect
from weft_common.errors import EngineFailed, WeftError
from weft_worker.dialects.tools import is_arguments
from weft_worker.engines.base import Finished, FinishReason, ToolCall, ToolCallDelta, Usage

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'

_ODD = re.compile(r"[^A-Za-z0-9_-]")
_NOTHING_USED = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class Head:
    """What all parts of one answer have in common; `max_tokens` and `tells_thinking` are as the client asked."""

    id: str
    model: str
    max_tokens: int
    tells_thinking: bool = True


@dataclass(frozen=True, slots=True)
class Said:
    """A whole answer."""

    text: str = ""
    tool_calls: Sequence[ToolCall] = ()
    thinking: str = ""


def message_object(head: Head, said: Said, end: Finished) -> bytes:
    """Encode a whole answer."""
    told = {
        "content": list(_blocks(head, said)),
        "stop_reason": _stop_reason(head, end),
        "stop_sequence": end.stop_sequence or None,
        "usage": _usage(end.usage),
    }
    return orjson.dumps(_message(head) | told)


def tokens_count(count: int) -> bytes:
    """Encode how many tokens a conversation has."""
    return orjson.dumps({"input_tokens": count})


class EventWriter:
    """Writes the events of one streamed answer, each block opened and closed in its place.

    State: which block is open, by what and number; how many calls there were.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._index = -1
        self._open: str | int | None = None
        """`text`, `thinking`, or the number of a call."""
        self._call_count = 0
        self._thoughts = hashlib.sha256()
        self._text_head = b""

    def start(self, prompt: Usage | None = None) -> bytes:
        """Begin the message; what an engine does not say of its prompt by now is told with the end."""
        message = _message(self._head) | {"usage": _usage(prompt or _NOTHING_USED)}
        return _event("message_start", {"message": message})

    def text(self, text: str) -> bytes:
        """Add text to the message."""
        if not text:
            return b""
        opening = b"" if self._open == "text" else self._begin("text", _text_block(""))
        return opening + self._text_head + orjson.dumps(text) + b"}}\n\n"

    def thinking(self, text: str) -> bytes:
        """Add to what the model thought."""
        if not text:
            return b""
        opening = b"" if self._open == "thinking" else self._begin("thinking", _thinking_block("", ""))
        self._thoughts.update(text.encode())
        if not self._head.tells_thinking:
            return opening or PING  # the client is to hear that there is something
        return opening + self._delta({"type": "thinking_delta", "thinking": text})

    def tool_call(self, delta: ToolCallDelta) -> bytes:
        """Add to a call of a tool; raises EngineFailed for one that is closed, as no block can be opened again."""
        opening = b""
        if self._open != delta.index:
            if delta.index < self._call_count:
                raise EngineFailed("The engine went on with a call of a tool after it had begun another one.")
            block = _tool_use_block(delta.id, delta.name, b"{}")
            opening = self._begin(delta.index, block) + self._delta(_json_delta(""))
            self._call_count = delta.index + 1
        return opening + (self._delta(_json_delta(delta.arguments)) if delta.arguments else b"")

    def finish(self, end: Finished) -> bytes:
        """End the message: why, and what it used."""
        delta = {
            "stop_reason": _stop_reason(self._head, end),
            "stop_sequence": end.stop_sequence or None,
            "stop_details": None,
            "container": None,
        }
        told = {"delta": delta, "usage": _delta_usage(end.usage)}
        return self._close() + _event("message_delta", told) + _event("message_stop", {})

    def failure(self, error: WeftError, request_id: str) -> bytes:
        """Break it off; no end of the message may follow."""
        return b"event: error\ndata: " + error_body(Dialect.ANTHROPIC, error, request_id) + b"\n\n"

    def _begin(self, what: str | int, block: object) -> bytes:
        """Close the open block and open the next one; the first one is followed by a ping, as with Anthropic."""
        closing = self._close()
        self._index += 1
        self._open = what
        if what == "text":
            head = {"type": "content_block_delta", "index": self._index}
            delta = orjson.dumps({**head, "delta": {"type": "text_delta", "text": ""}})
            self._text_head = b"event: content_block_delta\ndata: " + delta.removesuffix(b'""}}')
        opening = _event("content_block_start", {"index": self._index, "content_block": block})
        return closing + opening + (PING if self._index == 0 else b"")

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        signing = b""
        if self._open == "thinking":
            signing = self._delta({"type": "signature_delta", "signature": _signature(self._thoughts)})
            self._thoughts = hashlib.sha256()
        self._open = None
        return signing + _event("content_block_stop", {"index": self._index})

    def _delta(self, delta: dict[str, object]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})


def _message(head: Head) -> dict[str, object]:
    return {
        "id": head.id,
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "diagnostics": None,
    }


def _blocks(head: Head, said: Said) -> Iterator[object]:
    if said.thinking:
        signature = _signature(hashlib.sha256(said.thinking.encode()))
        yield _thinking_block(said.thinking if head.tells_thinking else "", signature)
    if said.text:
        yield _text_block(said.text)
    for call in said.tool_calls:
        yield _tool_use_block(call.id, call.name, _object(call.arguments))


def _text_block(text: str) -> object:
    return {"type": "text", "text": text}


def _thinking_block(thinking: str, signature: str) -> object:
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def _tool_use_block(id_: str, name: str, arguments: bytes) -> object:
    return {
        "type": "tool_use",
        "id": _tool_use_id(id_),
        "name": name,
        "input": orjson.Fragment(arguments),
        "caller": {"type": "direct"},
        "toolset_name": None,
    }


def _json_delta(text: str) -> dict[str, object]:
    return {"type": "input_json_delta", "partial_json": text}


def _tool_use_id(made: str) -> str:
    """An id of the letters that Anthropic's have."""
    return f"toolu_{_ODD.sub('_', made.removeprefix('call_'))}"


def _object(arguments: str) -> bytes:
    """The arguments of a call as they are; an answer that was cut off may have begun them only."""
    return arguments.encode() if is_arguments(arguments) else b"{}"


def _signature(thoughts: "hashlib._Hash") -> str:
    """Anthropic's clients send it back with the thoughts; nobody here asks for it."""
    return base64.b64encode(thoughts.digest()).decode()


def _stop_reason(head: Head, end: Finished) -> str:
    match end.reason:
        case FinishReason.TOOL_CALLS:
            return "tool_use"
        case FinishReason.LENGTH:
            is_asked = end.usage.completion_token_count >= head.max_tokens
            return "max_tokens" if is_asked else "model_context_window_exceeded"
        case FinishReason.CONTENT_FILTER:
            return "refusal"
        case FinishReason.STOP:
            return "stop_sequence" if end.stop_sequence else "end_turn"


def _usage(usage: Usage) -> dict[str, object]:
    return {
        **_delta_usage(usage),
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
        "inference_geo": None,
        "service_tier": "standard",
        "speed": None,
    }


def _delta_usage(usage: Usage) -> dict[str, object]:
    """The engine's cache keeps what it has read by itself: nothing is written to it that is not counted as input."""
    return {
        "input_tokens": usage.prompt_token_count - usage.cached_token_count,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_token_count,
        "output_tokens": usage.completion_token_count,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_token_count},
        "server_tool_use": None,
    }


def _event(name: str, told: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **told}))
