"""OpenAI's answers to a completion, byte for byte: one object, or server-sent events of the same shape."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import orjson

from weft_worker.dialects.openai.answer import ChoiceWriter, Head, usage_object
from weft_worker.engines.base import (
    Delta,
    FinishReason,
    ReasoningDelta,
    TokenChance,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

_KIND = "text_completion"


@dataclass(frozen=True, slots=True)
class TextChoice:
    """One answer of those that were asked for; `logprobs` are None where nobody asked for them."""

    text: str
    reason: FinishReason
    logprobs: Sequence[TokenLogprob] | None = None


def text_object(head: Head, choices: Sequence[TextChoice], usage: Usage) -> bytes:
    """Encode whole answers."""
    written: list[dict[str, object]] = [
        {
            "text": choice.text,
            "index": index,
            "logprobs": None if choice.logprobs is None else TokenPlaces().logprobs(choice.logprobs),
            "finish_reason": choice.reason,
        }
        for index, choice in enumerate(choices)
    ]
    return orjson.dumps({**head.of(_KIND), "choices": written, "usage": usage_object(usage), **_tail(head)})


class TextWriter(ChoiceWriter):
    """Writes the events of one streamed answer."""

    def __init__(self, head: Head, *, include_usage: bool, index: int = 0) -> None:
        self._places = TokenPlaces()
        super().__init__(head.of(_KIND), _tail(head), include_usage=include_usage, index=index)

    def start(self, *, begins_call: bool = False) -> bytes:
        """Nothing: the first event is the first text."""
        return b""

    def delta(self, delta: Delta) -> bytes:
        """Add text."""
        if delta.logprobs:
            return self._chunk(delta.text, logprobs=self._places.logprobs(delta.logprobs))
        return self._text(delta.text)

    def reasoning(self, delta: ReasoningDelta) -> bytes:
        """Never happens."""
        raise AssertionError("without a chat template nothing tells thoughts apart")

    def tool_call(self, delta: ToolCallDelta) -> bytes:
        """Never happens."""
        raise AssertionError("no tools were offered")

    def finish(self, reason: FinishReason) -> bytes:
        """Close it: why it ended."""
        return self._chunk("", reason)

    def _said(self, text: str) -> bytes:
        return self._chunk(text)

    def _chunk(self, text: str, finish_reason: str | None = None, logprobs: object = None) -> bytes:
        # The text comes last, so that nothing of the client's choice follows it.
        return self._event(
            {"index": self.index, "logprobs": logprobs, "finish_reason": finish_reason, "text": text}
        )


class TokenPlaces:
    """Where tokens begin in the text of an answer. State: how many characters are complete, and bytes of the next."""

    def __init__(self) -> None:
        self._count = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def logprobs(self, told: Sequence[TokenLogprob]) -> dict[str, object]:
        """Tell the tokens that come next; of the first of a prompt there is no probability."""
        likeliest = [
            {_name(chance): chance.logprob for chance in (each.chosen, *each.likeliest)}
            if isfinite(each.chosen.logprob)
            else None
            for each in told
        ]
        return {
            "tokens": [_name(each.chosen) for each in told],
            "token_logprobs": [each.chosen.logprob for each in told],
            "top_logprobs": likeliest if any(each.likeliest for each in told) else None,
            "text_offset": [self._place(each.chosen) for each in told],
        }

    def _place(self, chance: TokenChance) -> int:
        place = self._count
        self._count += len(self._decoder.decode(chance.data))
        return place


def _name(chance: TokenChance) -> str:
    """A token's text, or where it is a part of a character its bytes, as OpenAI writes them."""
    try:
        return chance.data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in chance.data)


def _tail(head: Head) -> dict[str, object]:
    return {"system_fingerprint": head.fingerprint}
