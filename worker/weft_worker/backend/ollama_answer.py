"""What an engine tells, as Ollama's clients hear it: line by line, or put together."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import assert_never

from weft_worker.backend.gathered import Answer
from weft_worker.backend.inference import Inference
from weft_worker.backend.ollama_context import context_of
from weft_worker.backend.run import Failed, Quiet
from weft_worker.backend.visit import Visit
from weft_worker.dialects.http_body import http_body
from weft_worker.dialects.ollama.answers import LINES, AnswerWriter, End, Said, Timing, WholeCalls
from weft_worker.engines.base import Asked, Delta, Event, Finished, ReasoningDelta, ToolCall, ToolCallDelta


def timing_of(inference: Inference, visit: Visit) -> Timing:
    """Where the time went until now."""
    now = inference.clock.monotonic()
    admitted = now if visit.admitted is None else visit.admitted
    first = now if visit.first_token is None else visit.first_token
    return Timing(now - visit.arrived, admitted - visit.arrived, first - admitted, now - first)


class OllamaAnswer:
    """One answer on its way; state: the call of a tool that is not whole yet, how many were told, and the
    texts so far.
    """

    def __init__(
        self, inference: Inference, visit: Visit, writer: AnswerWriter, context_for: Asked | None
    ) -> None:
        """`context_for` is what is asked, where the tokens of it and of the answer are to be told."""
        self._inference = inference
        self._visit = visit
        self._writer = writer
        self._context_for = context_for
        self._calls = WholeCalls()
        self._call_count = 0
        self._texts: list[str] = []

    async def whole(self, events: AsyncGenerator[tuple[int, Event | Failed, bool], None]) -> bytes:
        """All of it as one object."""
        answer = Answer()
        async with aclosing(events) as told:
            async for _, event, _ in told:
                answer.take(event)
        said = Said(answer.text, answer.reasoning, answer.calls.whole(), answer.logprobs)
        self._texts = answer.texts
        return self._writer.whole(said, await self._end(answer.end()), self._wall())

    async def lines(
        self, events: AsyncGenerator[tuple[int, Event | Failed | Quiet, bool], None]
    ) -> AsyncGenerator[bytes, None]:
        """Lines as frames, the last text and the end in one where they come together."""
        data, content_type = b"", LINES
        async with aclosing(events) as told:
            async for _, event, ends_next in told:
                data += await self._last(event) if isinstance(event, Finished) else self._line(event)
                self._visit.is_kept_back = not data
                if data and not ends_next:
                    yield http_body(data, content_type)
                    data, content_type = b"", b""
                if isinstance(event, Failed):
                    return

    def _line(self, event: Delta | ReasoningDelta | ToolCallDelta | Quiet | Failed) -> bytes:
        """What is told of an event; nothing of a part of a call."""
        now = self._wall()
        match event:
            case Delta():
                if self._context_for is not None:
                    self._texts.append(event.text)
                if event.logprobs:
                    return self._writer.part(Said(event.text, logprobs=event.logprobs), now)
                return self._writer.delta(event.text, now)
            case ReasoningDelta():
                return self._writer.part(Said(thinking=event.text), now)
            case ToolCallDelta():
                return self._called(self._calls.take(event))
            case Quiet():
                return self._writer.delta("", now)
            case Failed():
                return self._writer.failure(event.error)
            case _:
                assert_never(event)

    def _called(self, calls: Sequence[ToolCall]) -> bytes:
        if not calls:
            return b""
        said = Said(calls=calls, earlier_call_count=self._call_count)
        self._call_count += len(calls)
        return self._writer.part(said, self._wall())

    async def _last(self, finished: Finished) -> bytes:
        return self._called(self._calls.rest()) + self._writer.end(await self._end(finished), self._wall())

    async def _end(self, finished: Finished) -> End:
        timing = timing_of(self._inference, self._visit)
        if self._context_for is None:
            return End(finished.reason, finished.usage, timing)
        engine = self._inference.replica.engine()
        context = await context_of(engine, self._context_for, "".join(self._texts))
        return End(finished.reason, finished.usage, timing, context)

    def _wall(self) -> float:
        return self._inference.clock.wall()
