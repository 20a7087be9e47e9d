"""Several answers of OpenAI's as one stream of server-sent events."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import assert_never

from weft_worker.backend.run import Failed, Quiet
from weft_worker.backend.visit import Visit
from weft_worker.dialects.http_body import http_body
from weft_worker.dialects.openai.answer import EVENT_STREAM, HEARTBEAT, ChoiceWriter
from weft_worker.engines.base import Delta, Event, Finished, ReasoningDelta, ToolCallDelta, Usage


async def frames(
    visit: Visit,
    events: AsyncGenerator[tuple[int, Event | Failed | Quiet, bool], None],
    writers: Sequence[ChoiceWriter],
    usage_of: Callable[[Sequence[Usage]], Usage],
) -> AsyncGenerator[bytes, None]:
    """Write what comes, and close it: the end only where every answer has one, and nothing after a failure."""
    ends: dict[int, Usage] = {}
    opened: set[int] = set()
    data, content_type = b"", EVENT_STREAM
    async with aclosing(events):
        async for index, event, ends_next in events:
            if isinstance(event, Quiet):
                visit.is_kept_back = False
                yield http_body(HEARTBEAT, content_type)
                content_type = b""
                continue
            writer = writers[index]
            if index not in opened:
                # The role travels with the first token: without one there may still be another replica.
                data += writer.start(begins_call=isinstance(event, ToolCallDelta))
                opened.add(index)
            data += _written(writer, event)
            if isinstance(event, Finished):
                ends[index] = event.usage
                if len(ends) == len(writers):
                    data += writer.done(usage_of([ends[place] for place in sorted(ends)]))
            # Of a call that is told as a whole there is nothing yet.
            visit.is_kept_back = not data
            if data and not ends_next:
                yield http_body(data, content_type)
                data, content_type = b"", b""
            if isinstance(event, Failed):
                return


def _written(writer: ChoiceWriter, event: Event | Failed) -> bytes:
    match event:
        case Delta():
            return writer.delta(event)
        case ReasoningDelta():
            return writer.reasoning(event)
        case ToolCallDelta():
            return writer.tool_call(event)
        case Finished():
            return writer.finish(event.reason)
        case Failed():
            return writer.failure(event.error)
        case _:
            assert_never(event)
