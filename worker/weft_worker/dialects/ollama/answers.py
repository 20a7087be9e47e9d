"""Ollama's answers to conversations and prompts, byte for byte: one object, or one a line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import orjson

from weft_common.dialect_errors import error_body
from weft_common.dialects import Dialect
from weft_common.errors import WeftError
from weft_worker.engines.base import (
    Delta,
    FinishReason,
    TokenChance,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

JSON = b"application/json; charset=utf-8"
LINES = b"application/x-ndjson"

_MARK = "@"


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a request went, in seconds: all of it, until it had a slot, its prompt, its answer."""

    total: float
    loading: float
    prompt: float
    answer: float


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says, or a part of it."""

    text: str = ""
    thinking: str = ""
    calls: Sequence[ToolCall] = ()
    logprobs: Sequence[TokenLogprob] = ()
    earlier_call_count: int = 0
    """How many calls the answer made before these."""


@dataclass(frozen=True, slots=True)
class End:
    """Why an answer ended, and what it took."""

    reason: FinishReason
    usage: Usage
    timing: Timing
    context: Sequence[int] = ()
    """Tokens of prompt and answer, for clients that send them back."""


Shape = Callable[[Said], dict[str, object]]
"""How a part of an answer is written: the one difference between the two."""


def chat_shape(said: Said) -> dict[str, object]:
    """Write a part of a message."""
    message: dict[str, object] = {"role": "assistant", "content": said.text}
    if said.thinking:
        message["thinking"] = said.thinking
    if said.calls:
        message["tool_calls"] = [
            _call(call, index) for index, call in enumerate(said.calls, said.earlier_call_count)
        ]
    return {"message": message}


def generate_shape(said: Said) -> dict[str, object]:
    """Write a part of a completion."""
    thinking: dict[str, object] = {"thinking": said.thinking} if said.thinking else {}
    return {"response": said.text, **thinking}


class AnswerWriter:
    """Writes an answer, in lines or as a whole; times are in seconds since 1970.

    What does not change from token to token is encoded once.
    """

    def __init__(self, model: str, shape: Shape) -> None:
        self._model = model
        self._shape = shape
        # The client chose the model's name, which stands before all else; behind it all text is ours.
        stamp, text = orjson.dumps(_MARK), orjson.dumps(_MARK)
        line = orjson.dumps(self._open(_MARK, Said(text=_MARK), done=False)) + b"\n"
        before_text, _, self._delta_tail = line.rpartition(text)
        self._delta_head, _, self._delta_middle = before_text.rpartition(stamp)

    def delta(self, text: str, now: float) -> bytes:
        """Add text; an empty one tells that the answer is still being worked on."""
        stamp = b'"' + timestamp(now).encode() + b'"'
        return self._delta_head + stamp + self._delta_middle + orjson.dumps(text) + self._delta_tail

    def part(self, said: Said, now: float) -> bytes:
        """Add anything else."""
        return orjson.dumps(self._open(timestamp(now), said, done=False) | _probable(said)) + b"\n"

    def end(self, end: End, now: float) -> bytes:
        """Close the answer."""
        return self.whole(Said(), end, now) + b"\n"

    def whole(self, said: Said, end: End, now: float) -> bytes:
        """Write all of it at once."""
        closed = self._open(timestamp(now), said, done=True)
        context = {"context": list(end.context)} if end.context else {}
        told = {"done_reason": done_reason(end.reason), **context, **_probable(said), **_figures(end)}
        return orjson.dumps(closed | told)

    def nothing(self, reason: str, now: float) -> bytes:
        """Answer a request that only loads or unloads its model."""
        return orjson.dumps(self._open(timestamp(now), Said(), done=True) | {"done_reason": reason})

    def failure(self, error: WeftError) -> bytes:
        """Break a stream off; no end of it may follow."""
        return error_body(Dialect.OLLAMA, error) + b"\n"

    def _open(self, stamp: str, said: Said, *, done: bool) -> dict[str, object]:
        return {"model": self._model, "created_at": stamp, **self._shape(said), "done": done}


class WholeCalls:
    """Calls of tools as they become complete, since Ollama tells no parts of them; state: the one that is not yet."""

    def __init__(self) -> None:
        self._index = -1
        self._call: ToolCall | None = None

    def take(self, delta: ToolCallDelta) -> Sequence[ToolCall]:
        """Add a part; gives the call before, where this is the first part of another one."""
        if self._call is not None and delta.index == self._index:
            self._call = replace(self._call, arguments=self._call.arguments + delta.arguments)
            return ()
        before = self.rest()
        self._index, self._call = delta.index, ToolCall(delta.id, delta.name, delta.arguments)
        return before

    def rest(self) -> Sequence[ToolCall]:
        """The last call, once nothing follows; one whose arguments were cut off is none."""
        call, self._call = self._call, None
        return (call,) if call is not None and _arguments(call) is not None else ()


def timestamp(seconds: float) -> str:
    """A moment as Go writes it."""
    # Without the offset that is written for UTC; told for every token, and by format codes it takes twice as long.
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def done_reason(reason: FinishReason) -> str:
    """Why it ended; that tools are called, or a filter met, is no reason of its own."""
    return "length" if reason is FinishReason.LENGTH else "stop"


def _call(call: ToolCall, index: int) -> dict[str, object]:
    named = {"id": call.id} if call.id else {}
    return {**named, "function": {"index": index, "name": call.name, "arguments": _arguments(call) or {}}}


def _arguments(call: ToolCall) -> Mapping[str, object] | None:
    """Read arguments, since text of the model's own could break a line in two."""
    try:
        read = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        return None
    return read if isinstance(read, dict) else None


def _probable(said: Said) -> dict[str, object]:
    if not said.logprobs:
        return {}
    told = [
        {**_chance(each.chosen), "top_logprobs": [_chance(likely) for likely in each.likeliest]}
        for each in said.logprobs
    ]
    return {"logprobs": told}


def _chance(chance: TokenChance) -> dict[str, object]:
    return {"token": chance.text, "logprob": chance.logprob, "bytes": list(chance.data)}


def _figures(end: End) -> dict[str, object]:
    return {
        "total_duration": nanoseconds(end.timing.total),
        "load_duration": nanoseconds(end.timing.loading),
        "prompt_eval_count": end.usage.prompt_token_count,
        "prompt_eval_duration": nanoseconds(end.timing.prompt),
        "eval_count": end.usage.completion_token_count,
        "eval_duration": nanoseconds(end.timing.answer),
    }


def nanoseconds(seconds: float) -> int:
    """A span as Go writes it."""
    return max(0, round(seconds * 1e9))


def said_of(delta: Delta) -> Said:
    """A piece of text with its probabilities."""
    return Said(text=delta.text, logprobs=delta.logprobs)
