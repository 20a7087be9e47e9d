"""OpenAI's answers to a chat completion, byte for byte: one object, or server-sent events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from weft_worker.dialects.openai.answer import ChoiceWriter, Head, usage_object
from weft_worker.dialects.openai.custom_tools import input_of
from weft_worker.engines.base import (
    Delta,
    FinishReason,
    ReasoningDelta,
    TokenChance,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer of those that were asked for; `logprobs` are None where nobody asked for them."""

    text: str
    reason: FinishReason
    logprobs: Sequence[TokenLogprob] | None = None
    tool_calls: Sequence[ToolCall] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class CallForms:
    """In which form calls are told: usually as those of tools."""

    are_functions: bool = False
    """In the form that OpenAI has given up, of which an answer has one."""
    of_texts: frozenset[str] = frozenset()
    """The tools that take a text instead of JSON."""

    def reason(self, reason: FinishReason) -> str:
        """Why an answer ended."""
        is_old = self.are_functions and reason is FinishReason.TOOL_CALLS
        return "function_call" if is_old else reason

    def whole(self, call: ToolCall) -> dict[str, object]:
        """Tell a call of a tool."""
        if call.name in self.of_texts:
            custom = {"name": call.name, "input": input_of(call.arguments)}
            return {"id": call.id, "type": "custom", "custom": custom}
        return {"id": call.id, "type": "function", "function": _function(call)}


def completion_object(
    head: Head, choices: Sequence[Choice], usage: Usage, calls: CallForms = CallForms()
) -> bytes:
    """Encode whole answers."""
    written: list[dict[str, object]] = [
        {
            "index": index,
            "message": _message(choice, calls),
            "logprobs": None if choice.logprobs is None else _logprobs(choice.logprobs),
            "finish_reason": calls.reason(choice.reason),
        }
        for index, choice in enumerate(choices)
    ]
    return orjson.dumps(
        {**head.of("chat.completion"), "choices": written, "usage": usage_object(usage), **_tail(head)}
    )


class ChunkWriter(ChoiceWriter):
    """Writes the events of one streamed answer.

    State: calls whose arguments are told as a text, once they are complete.
    """

    def __init__(
        self, head: Head, *, include_usage: bool, index: int = 0, calls: CallForms = CallForms()
    ) -> None:
        self._calls = calls
        self._texts: dict[int, ToolCall] = {}
        super().__init__(
            head.of("chat.completion.chunk"), _tail(head), include_usage=include_usage, index=index
        )

    def start(self, *, begins_call: bool = False) -> bytes:
        """Open the message; in front of a call without an empty text, of which clients would make a part."""
        return self._chunk({"role": "assistant", "content": None if begins_call else "", "refusal": None})

    def delta(self, delta: Delta) -> bytes:
        """Add text to it."""
        if delta.logprobs:
            return self._chunk({"content": delta.text}, logprobs=_logprobs(delta.logprobs))
        return self._text(delta.text)

    def reasoning(self, delta: ReasoningDelta) -> bytes:
        """Add to what the model thinks, in the field that DeepSeek gave it: OpenAI's own API does not tell it."""
        return self._chunk({"reasoning_content": delta.text})

    def tool_call(self, delta: ToolCallDelta) -> bytes:
        """Add to a call of a tool; its first part has the name."""
        name = {"name": delta.name} if delta.name else {}
        function = {**name, "arguments": delta.arguments}
        if self._calls.are_functions:
            return self._chunk({"function_call": function})
        if delta.name in self._calls.of_texts or delta.index in self._texts:
            known = self._texts.get(delta.index) or ToolCall(delta.id, delta.name, "")
            self._texts[delta.index] = replace(known, arguments=known.arguments + delta.arguments)
            return b""
        begun = {"id": delta.id, "type": "function"} if delta.name else {}
        return self._chunk({"tool_calls": [{"index": delta.index, **begun, "function": function}]})

    def finish(self, reason: FinishReason) -> bytes:
        """Close it: why it ended."""
        texts = [{"index": index, **self._calls.whole(self._texts[index])} for index in sorted(self._texts)]
        told = self._chunk({"tool_calls": texts}) if texts else b""
        return told + self._chunk({}, self._calls.reason(reason))

    def _said(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def _chunk(
        self, delta: Mapping[str, object], finish_reason: str | None = None, logprobs: object = None
    ) -> bytes:
        return self._event(
            {"index": self.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        )


def _tail(head: Head) -> dict[str, object]:
    return {"service_tier": "default", "system_fingerprint": head.fingerprint}


def _message(choice: Choice, calls: CallForms) -> dict[str, object]:
    said: dict[str, object] = {
        "role": "assistant",
        "content": choice.text or None if choice.tool_calls else choice.text,
        "refusal": None,
        "annotations": [],
    }
    if choice.reasoning:
        said["reasoning_content"] = choice.reasoning
    if choice.tool_calls and calls.are_functions:
        said["function_call"] = _function(choice.tool_calls[0])
    elif choice.tool_calls:
        said["tool_calls"] = [calls.whole(call) for call in choice.tool_calls]
    return said


def _function(call: ToolCall) -> dict[str, object]:
    return {"name": call.name, "arguments": call.arguments}


def _logprobs(told: Sequence[TokenLogprob]) -> dict[str, object]:
    content = [
        {**_chance(each.chosen), "top_logprobs": [_chance(likely) for likely in each.likeliest]}
        for each in told
    ]
    return {"content": content, "refusal": None}


def _chance(chance: TokenChance) -> dict[str, object]:
    return {"token": chance.text, "logprob": chance.logprob, "bytes": list(chance.data)}
