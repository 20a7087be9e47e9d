"""What the text of one answer says: thoughts, text, or calls of tools. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from weft_worker.engines.base import (
    Delta,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    ToolMode,
    Tools,
)
from weft_worker.engines.exllama.prompts import Prepared
from weft_worker.engines.forced_call import ForcedCall
from weft_worker.engines.spoken_calls import SpokenCalls


class Saying:
    """State: what was not told yet, and whether anything was."""

    def __init__(self, prepared: Prepared) -> None:
        self.has_begun = False
        self._prepared = prepared
        self._thoughts = prepared.thoughts
        self._calls = _calls(prepared.tools, is_formed=prepared.order.guidance is not None)

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows would be told."""
        return isinstance(self._calls, SpokenCalls) and self._calls.is_over

    def read(self, delta: Delta) -> list[Event]:
        """Take text as it comes, and tell what is known of it by now."""
        return self._opened(self._answered([delta] if self._thoughts is None else self._thoughts.read(delta)))

    def finish(self, end: Finished) -> list[Event]:
        """Tell what is left, and the end."""
        rest = self._answered(self._thoughts.finish()) if self._thoughts is not None else []
        if isinstance(self._calls, SpokenCalls):
            rest += self._calls.finish()
            is_called = self._calls.has_called
        else:
            if self._calls is not None and end.reason is FinishReason.LENGTH:
                rest += self._calls.cut_off()
            is_called = self._calls is not None and end.reason is FinishReason.STOP
        thought_count = self._thoughts.token_count if self._thoughts is not None else 0
        reason = FinishReason.TOOL_CALLS if is_called else end.reason
        usage = replace(end.usage, reasoning_token_count=thought_count)
        return self._opened([*rest, Finished(reason, usage, end.stop_sequence)])

    def _answered(self, told: Sequence[Delta | ReasoningDelta]) -> list[Event]:
        """What thoughts leave is text, or calls."""
        events: list[Event] = []
        for each in told:
            if isinstance(each, ReasoningDelta) or self._calls is None:
                events.append(each)
            else:
                events += self._calls.read(each)
        return events

    def _opened(self, events: list[Event]) -> list[Event]:
        if self.has_begun or not events:
            return events
        self.has_begun = True
        return self._prepared.opened(events)


def _calls(tools: Tools | None, *, is_formed: bool) -> ForcedCall | SpokenCalls | None:
    if tools is None or tools.mode is ToolMode.NONE:
        return None
    return ForcedCall() if tools.mode is ToolMode.REQUIRED else SpokenCalls(tools, is_formed=is_formed)
