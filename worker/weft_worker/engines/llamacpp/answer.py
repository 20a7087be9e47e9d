"""The chunks of one answer of llama.cpp, read as events."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from weft_common.errors import EngineFailed, InvalidRequest
from weft_worker.engines.base import (
    Asked,
    Delta,
    Event,
    Finished,
    FinishReason,
    JsonForm,
    ReasoningDelta,
    TokenChance,
    TokenLogprob,
    ToolCallDelta,
    ToolMode,
    Usage,
    begun,
)
from weft_worker.engines.forced_call import ForcedCall
from weft_worker.engines.forms import JsonOrCalls, held_form, held_sampling, shown_tools
from weft_worker.engines.json_form import keeps
from weft_worker.engines.llamacpp.failures import failure_of
from weft_worker.engines.spoken_calls import SpokenCalls

_REASONS = {"length": FinishReason.LENGTH, "tool_calls": FinishReason.TOOL_CALLS}


@dataclass(slots=True)
class _Said:
    """What some chunks say; state: all of it."""

    thoughts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    calls: list[ToolCallDelta] = field(default_factory=list)


class Answer:
    """Reads the chunks of one answer, and sees to it that JSON keeps the schema it was asked by.

    State: its text then, whether it has begun, how many tokens were thought, and why it finished, by which stop string,
    and what it used, once the library has said so.
    """

    def __init__(self, asked: Asked) -> None:
        form, tools = held_form(asked), shown_tools(asked)
        self._asked = asked
        schema = form.schema if isinstance(form, JsonForm | JsonOrCalls) else None
        self._stops = held_sampling(asked).stop
        self._schema = schema if not self._stops else None
        self._is_formed = form is not None
        self._forced: ForcedCall | None = None
        self._spoken: SpokenCalls | None = None
        if tools is not None and tools.mode is ToolMode.REQUIRED:
            self._forced = ForcedCall()
        elif tools is not None and form is not None:
            self._spoken = SpokenCalls(tools, is_formed=True)
        self._texts: list[str] = []
        self._thought_count = 0
        self._stop_sequence = ""
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._has_begun = False
        self._prompt: Usage | None = None

    @property
    def is_held(self) -> bool:
        """Whether the end looks at the whole answer."""
        return self._schema is not None

    @property
    def has_begun(self) -> bool:
        """Whether anything was said or thought."""
        return self._has_begun

    def read(self, chunks: list[str]) -> list[Event]:
        """Take what some chunks say, each kind in one piece; raises the failure that a chunk tells of."""
        said = _Said()
        for chunk in chunks:
            self._read_one(orjson.loads(chunk), said)
        self._has_begun = self._has_begun or bool(said.texts or said.calls or said.thoughts)
        if self._schema is not None:
            self._texts += said.texts
        # Thoughts come before text, and text before calls: no model goes on talking after them.
        deltas = [Delta("".join(said.texts), len(said.texts), tuple(said.logprobs))] if said.texts else []
        reader = self._forced or self._spoken
        if reader is not None:
            return self._told([event for delta in deltas for event in reader.read(delta)])
        return self._told([*self._thought(said.thoughts), *deltas, *_joined(said.calls)])

    def rest(self) -> list[Event]:
        """What is still held, after the last chunk; then comes the end."""
        if self._forced is not None and self._reason is FinishReason.LENGTH:
            return self._told([*self._forced.cut_off()])
        return self._told([*self._spoken.finish()]) if self._spoken is not None else []

    def finish(self) -> Finished:
        """Give the end, after all else."""
        if self._reason is None or self._usage is None:
            raise EngineFailed("llama.cpp ended the answer without saying why.")
        has_spoken = self._spoken is not None and self._spoken.has_called
        if self._schema is not None and self._reason is FinishReason.STOP and not has_spoken:
            _require_kept(self._schema, "".join(self._texts))
        is_called = (self._forced is not None or has_spoken) and self._reason is FinishReason.STOP
        reason = FinishReason.TOOL_CALLS if is_called else self._reason
        usage = replace(self._usage, reasoning_token_count=self._thought_count)
        return Finished(reason, usage, self._stop_sequence)

    def _told(self, events: list[Event]) -> list[Event]:
        if events and self._prompt is not None:
            events[0] = begun(events[0], self._prompt)
            self._prompt = None
        return events

    def _thought(self, thoughts: Sequence[str]) -> list[ReasoningDelta]:
        if not thoughts:
            return []
        self._thought_count += len(thoughts)
        return [ReasoningDelta("".join(thoughts), len(thoughts))]

    def _read_one(self, chunk: Any, said: _Said) -> None:
        if "error" in chunk:
            raise failure_of(chunk["error"], self._asked)
        if progress := chunk.get("prompt_progress"):
            self._prompt = Usage(progress["total"], 0, progress["cache"])
        if usage := chunk.get("usage"):
            self._usage = _usage(usage)
        if told := chunk.get("__verbose"):
            # Templates have stop strings of their own, which nobody asked for.
            word = told.get("stopping_word")
            self._stop_sequence = word if word in self._stops else ""
        for choice in chunk["choices"]:
            if choice["finish_reason"] is not None:
                self._reason = _REASONS.get(choice["finish_reason"], FinishReason.STOP)
            self._read_choice(choice, said)

    def _read_choice(self, choice: Any, said: _Said) -> None:
        # A completion has no delta.
        delta = choice.get("delta") or {}
        text = delta.get("content") or choice.get("text")
        if thought := self._new_thought(delta.get("reasoning_content"), said):
            if self._is_formed:
                # The template begins every answer with a thought: what keeps the form is the answer all the same.
                text = thought + (text or "")
            else:
                said.thoughts.append(thought)
        if text:
            said.texts.append(text)
        said.calls += map(_call_delta, delta.get("tool_calls", ()))
        # Nobody is told those of thoughts.
        if text and (told := choice.get("logprobs")):
            count = self._asked.sampling.top_logprobs or 0
            said.logprobs += (read_logprob(each, count) for each in told["content"])

    def _new_thought(self, thought: str | None, said: _Said) -> str:
        """Without the white space in front of the first one, which may be the template's: no token is there then."""
        has_begun = self._has_begun or said.thoughts or said.texts
        return (thought or "") if has_begun else (thought or "").lstrip()


def _require_kept(schema: str, text: str) -> None:
    """The library says STOP also where its grammar finds no way on, as by bounds and multipleOf of one number.

    From there it goes on as if there were none, at times with JSON that is another.
    """
    if not keeps(schema, text):
        raise InvalidRequest(
            "The schema cannot be kept: it led to where nothing can follow; the answer ends there."
        )


def _call_delta(told: Any) -> ToolCallDelta:
    function = told["function"]
    return ToolCallDelta(
        told["index"], _call_id(told.get("id")), function.get("name", ""), function.get("arguments", "")
    )


def _call_id(made: str | None) -> str:
    return f"call_{made}" if made else ""


def _joined(calls: Sequence[ToolCallDelta]) -> list[ToolCallDelta]:
    """Those of one call as one."""
    joined: list[ToolCallDelta] = []
    for call in calls:
        if joined and joined[-1].index == call.index:
            last = joined[-1]
            joined[-1] = replace(
                last, arguments=last.arguments + call.arguments, token_count=last.token_count + 1
            )
        else:
            joined.append(call)
    return joined


def read_logprob(told: Any, count: int) -> TokenLogprob:
    """The probability of a token, and those of so many of the likeliest in its place."""
    # Of several tokens that make one character the library tells the last one, under the name of all of them.
    return TokenLogprob(_chance(told), tuple(map(_chance, told["top_logprobs"][:count])))


def _chance(told: Any) -> TokenChance:
    return TokenChance(told["token"], bytes(told["bytes"]), told["logprob"])


def _usage(usage: Any) -> Usage:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(usage["prompt_tokens"], usage["completion_tokens"], cached)
