"""What every engine keeps of a call that has to be made, where it can hold a model to one."""

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from tests.worker.engines.answers import question
from tests.worker.engines.contract.conftest import Subject
from weft_worker.engines.base import (
    Engine,
    Event,
    Finished,
    FinishReason,
    Tool,
    ToolCallDelta,
    ToolMode,
    Tools,
)

CITY = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]}
TOOLS = Tools((Tool("look", "Look at a city.", json.dumps(CITY)),), ToolMode.REQUIRED)


@pytest.fixture
def caller(engine: Engine, subject: Subject) -> Engine:
    """Those that see to it themselves: upstreams do as they like, and a script calls nothing."""
    if subject.is_scripted or subject.backend == "openai":
        pytest.skip("it holds nobody to a call")
    return engine


async def _told(engine: Engine, *stop: str, max_tokens: int | None = None) -> tuple[str, Finished]:
    """The arguments of the call, and the end."""
    events: list[Event] = []
    asked = replace(question(stop=stop, max_tokens=max_tokens), tools=TOOLS)
    async with aclosing(engine.generate(asked)) as answer:
        events += [event async for event in answer]
    assert isinstance(events[-1], Finished)
    calls: Sequence[Event] = events[:-1]
    assert all(isinstance(call, ToolCallDelta) for call in calls)
    return "".join(call.arguments for call in calls if isinstance(call, ToolCallDelta)), events[-1]


@pytest.mark.parametrize("stop", ["Par", "city", '"', "}"])
async def test_no_stop_string_breaks_a_call_that_has_to_be_made(caller: Engine, stop: str) -> None:
    arguments, end = await _told(caller, stop)
    assert (json.loads(arguments), end.reason) == ({"city": "Paris"}, FinishReason.TOOL_CALLS)
    assert end.stop_sequence == ""


async def test_a_call_that_has_to_be_made_and_is_cut_off_says_so(caller: Engine) -> None:
    whole, end = await _told(caller)
    told = {
        count: await _told(caller, max_tokens=count) for count in range(1, end.usage.completion_token_count)
    }
    # Where the end costs a token of its own, all but that one hold the whole object.
    cut = {arguments for arguments, end in told.values() if end.reason is FinishReason.LENGTH}
    assert len(cut) > 2
    assert all(whole.startswith(arguments) for arguments in cut)
