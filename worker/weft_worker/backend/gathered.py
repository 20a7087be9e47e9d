"""Answers put together of what an engine gave, for callers that want them whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from weft_common.errors import EngineFailed
from weft_worker.backend.run import Failed
from weft_worker.backend.visit import summed_usage
from weft_worker.engines.base import (
    Delta,
    Event,
    Finished,
    ReasoningDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)


class ToolCalls:
    """Calls of tools that are put together of their parts; state: the parts of each, by index."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}

    def take(self, delta: ToolCallDelta) -> None:
        """Add a part."""
        known = self._calls.get(delta.index) or ToolCall(delta.id, delta.name, "")
        self._calls[delta.index] = replace(known, arguments=known.arguments + delta.arguments)

    def whole(self) -> Sequence[ToolCall]:
        """All of them, in their order."""
        return [self._calls[index] for index in sorted(self._calls)]


@dataclass(slots=True)
class Answer:
    """One answer; state: what came of it so far."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    calls: ToolCalls = field(default_factory=ToolCalls)
    finished: Finished | None = None

    def take(self, event: Event | Failed) -> None:
        """Add what came; raises what it failed of."""
        match event:
            case Delta():
                self.texts.append(event.text)
                self.logprobs += event.logprobs
            case ReasoningDelta():
                self.thoughts.append(event.text)
            case ToolCallDelta():
                self.calls.take(event)
            case Finished():
                self.finished = event
            case Failed():
                raise event.error
            case _:
                assert_never(event)

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self.texts)

    @property
    def reasoning(self) -> str:
        """All that was thought."""
        return "".join(self.thoughts)

    def end(self) -> Finished:
        """How it ended."""
        if self.finished is None:
            raise EngineFailed("The engine ended the answer without saying why.")
        return self.finished


def usage_of(answers: Sequence[Answer], answers_per_prompt: int | None = None) -> Usage:
    """What several answers used, to one prompt or with so many to each."""
    return summed_usage([answer.end().usage for answer in answers], answers_per_prompt)
