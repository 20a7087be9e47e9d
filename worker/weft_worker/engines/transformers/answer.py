"""One answer from tokens to events: whole characters, stop strings that never leak, calls of tools."""

from collections.abc import Sequence

from weft_worker.engines.base import (
    Asked,
    Delta,
    Event,
    Finished,
    FinishReason,
    Generation,
    ReasoningDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolMode,
    Usage,
    begun,
)
from weft_worker.engines.detokenizer import Decode, Detokenizer
from weft_worker.engines.forced_call import ForcedCall
from weft_worker.engines.forms import held_sampling
from weft_worker.engines.held_text import HeldText, first_stop, partial_end
from weft_worker.engines.spoken_calls import SpokenCalls
from weft_worker.engines.spoken_thoughts import SpokenThoughts


class Answer:
    """State: how many tokens there are, text that may be part of a stop string, and whether and which one was found."""

    def __init__(
        self,
        asked: Asked,
        decode: Decode,
        prompt_token_count: int,
        *,
        thoughts: SpokenThoughts | None = None,
        echo: Delta | None = None,
    ) -> None:
        """`thoughts` reads those of a model that thinks; an `echo` goes before the first event."""
        tools = asked.tools if isinstance(asked, Generation) else None
        mode = tools.mode if tools is not None else ToolMode.NONE
        self.token_count = 0
        self.is_stopped = False
        self._stop_sequence = ""
        self._prompt_token_count = prompt_token_count
        self._stop = held_sampling(asked).stop
        self._thoughts = thoughts
        self._echo = echo
        self._has_begun = False
        self._text = Detokenizer(decode)
        self._held = HeldText()
        self._spoken = (
            SpokenCalls(tools, is_formed=asked.form is not None)
            if tools is not None and mode is ToolMode.AUTO
            else None
        )
        self._forced = ForcedCall() if mode is ToolMode.REQUIRED else None

    def read(self, token: int, logprob: TokenLogprob | None) -> list[Event]:
        """Take the next token and give what may be told by now."""
        self.token_count += 1
        self._held.put(Delta(self._text.read(token), 1, () if logprob is None else (logprob,)))
        told = self._said(self._free())
        self.is_stopped = self.is_stopped or (self._spoken is not None and self._spoken.is_over)
        return self._opened(told)

    def end(self, reason: FinishReason, *, by_token: bool = False) -> list[Event]:
        """Give what is left and the end; `by_token` counts a token that says nothing but that."""
        self.token_count += by_token
        told: list[Event] = []
        if not self.is_stopped:
            self._held.put(Delta(self._text.finish(), 0))
            told += self._said(self._free())
        if self.is_stopped:
            reason = FinishReason.STOP
        else:
            told += self._said(self._held.take_all())
        if self._thoughts is not None:
            told += self._answered(self._thoughts.finish())
        if self._spoken is not None:
            told += self._spoken.finish()
        if self._forced is not None and reason is FinishReason.LENGTH:
            told += self._forced.cut_off()
        if reason is FinishReason.STOP and self._has_called:
            reason = FinishReason.TOOL_CALLS
        thought_count = self._thoughts.token_count if self._thoughts is not None else 0
        usage = Usage(self._prompt_token_count, self.token_count, reasoning_token_count=thought_count)
        return self._opened([*told, Finished(reason, usage, self._stop_sequence)])

    @property
    def _has_called(self) -> bool:
        return self._forced is not None or (self._spoken is not None and self._spoken.has_called)

    def _free(self) -> Delta:
        """Take the text that can be no part of a stop string, or what is in front of one."""
        text = self._held.text
        if (found := first_stop(text, self._stop)) is not None:
            self.is_stopped = True
            at, self._stop_sequence = found
            return self._held.take(at)
        held = max((partial_end(text, stop) for stop in self._stop), default=0)
        return self._held.take(len(text) - held)

    def _said(self, delta: Delta) -> list[Event]:
        if not delta.text:
            return []
        return self._answered([delta] if self._thoughts is None else self._thoughts.read(delta))

    def _answered(self, told: Sequence[Delta | ReasoningDelta]) -> list[Event]:
        """What thoughts leave is text, or calls."""
        events: list[Event] = []
        for each in told:
            if isinstance(each, ReasoningDelta):
                events.append(each)
            elif self._spoken is not None:
                events += self._spoken.read(each)
            else:
                events += [each] if self._forced is None else self._forced.read(each)
        return events

    def _opened(self, events: list[Event]) -> list[Event]:
        """The first event tells of the prompt."""
        if self._has_begun or not events:
            return events
        self._has_begun = True
        if self._echo is not None:
            events.insert(0, self._echo)
        events[0] = begun(events[0], Usage(self._prompt_token_count, 0))
        return events


def joined(events: list[Event]) -> list[Event]:
    """Deltas of text that follow each other as one: those that gathered are told at once.

    What holds no token, an echo, stays by itself.
    """
    told: list[Event] = []
    for event in events:
        last = told[-1] if told else None
        if isinstance(event, Delta) and isinstance(last, Delta) and last.token_count:
            told[-1] = Delta(
                last.text + event.text,
                last.token_count + event.token_count,
                last.logprobs + event.logprobs,
                last.prompt,
            )
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            told[-1] = ReasoningDelta(
                last.text + event.text, last.token_count + event.token_count, last.prompt
            )
        elif isinstance(event, ToolCallDelta) and isinstance(last, ToolCallDelta) and not event.id:
            told[-1] = ToolCallDelta(
                last.index,
                last.id,
                last.name,
                last.arguments + event.arguments,
                last.token_count + event.token_count,
                last.prompt,
            )
        else:
            told.append(event)
    return told
