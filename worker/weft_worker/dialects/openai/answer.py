"""What OpenAI's answers have in common, byte for byte: their heads and tails, usage, and server-sent events."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from weft_common.dialect_errors import openai_error_body
from weft_common.errors import WeftError
from weft_worker.engines.base import Delta, FinishReason, ReasoningDelta, ToolCallDelta, Usage

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
HEARTBEAT = b": still working\n\n"
"""A comment, which clients of server-sent events skip."""
_DONE = b"data: [DONE]\n\n"
_MARK = "@"


@dataclass(frozen=True, slots=True)
class Head:
    """What all parts of one answer have in common; `created` is in seconds since 1970."""

    id: str
    created: int
    model: str
    fingerprint: str
    """Changes when the same seed may no longer give the same text."""

    def of(self, kind: str) -> dict[str, object]:
        """The first fields of an object."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class ChoiceWriter(ABC):
    """Writes the events of one answer of a stream; what does not change from token to token is encoded once.

    State: the bytes around the text of a usual event.
    """

    def __init__(
        self, head: dict[str, object], tail: dict[str, object], *, include_usage: bool, index: int
    ) -> None:
        # Where the client asked for usage, OpenAI has a null in every event before the one that holds it.
        self._head, self._tail = head, tail
        self._include_usage = include_usage
        self.index = index
        # The client chose the model's name, which stands before the content; after it all text is ours.
        self._before, _, self._after = self._said(_MARK).rpartition(orjson.dumps(_MARK))

    @abstractmethod
    def start(self, *, begins_call: bool = False) -> bytes:
        """What comes before all else; `begins_call` where a call of a tool is next."""

    @abstractmethod
    def delta(self, delta: Delta) -> bytes:
        """Add text."""

    @abstractmethod
    def reasoning(self, delta: ReasoningDelta) -> bytes:
        """Add to what the model thinks."""

    @abstractmethod
    def tool_call(self, delta: ToolCallDelta) -> bytes:
        """Add to a call of a tool; its first part has the name."""

    @abstractmethod
    def finish(self, reason: FinishReason) -> bytes:
        """Close it: why it ended."""

    def done(self, usage: Usage) -> bytes:
        """End the stream, after all of its answers: usage where asked for, and the mark."""
        if not self._include_usage:
            return _DONE
        return _event({**self._head, "choices": [], "usage": usage_object(usage), **self._tail}) + _DONE

    def failure(self, error: WeftError) -> bytes:
        """Break the stream off; no end of it may follow."""
        return b"data: " + openai_error_body(error) + b"\n\n"

    @abstractmethod
    def _said(self, text: str) -> bytes:
        """The event of a text without more."""

    def _text(self, text: str) -> bytes:
        return self._before + orjson.dumps(text) + self._after

    def _event(self, choice: Mapping[str, object]) -> bytes:
        usage = {"usage": None} if self._include_usage else {}
        return _event({**self._head, "choices": [choice], **usage, **self._tail})


def _event(content: Mapping[str, object]) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def usage_object(usage: Usage) -> dict[str, object]:
    """Tell tokens."""
    return {
        "prompt_tokens": usage.prompt_token_count,
        "completion_tokens": usage.completion_token_count,
        "total_tokens": usage.prompt_token_count + usage.completion_token_count,
        "prompt_tokens_details": {"cached_tokens": usage.cached_token_count, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_token_count,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
