"""Tools offered to an upstream's model, and the calls that it makes."""

from dataclasses import replace

import pytest

from tests.upstreams.misbehaving import (
    Say,
    event,
    finish,
    stream,
    usage,
)
from tests.worker.engines.answers import question
from tests.worker.engines.openai.loaded import loaded
from weft_common.errors import (
    EngineFailed,
)
from weft_worker.engines.base import (
    Event,
    Finished,
    FinishReason,
    Generation,
    Message,
    Role,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolMode,
    Tools,
    Usage,
)
from weft_worker.engines.openai import OpenAIEngine

TOOLS = (Tool("get_weather", "Tells the weather.", '{"type":"object","properties":{"city":{}}}'), Tool("now"))


def _call(index: object, arguments: object, **more: object) -> Say:
    name = {"name": more.pop("name")} if "name" in more else {}
    part = {"index": index, **more, "function": {"arguments": arguments, **name}}
    return event({"choices": [{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}]})


async def _told(engine: OpenAIEngine, generation: Generation) -> list[Event]:
    return [event async for event in engine.generate(generation)]


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
async def test_calls_of_tools_are_told_part_by_part(reason: str) -> None:
    script = stream(
        _call(0, "", id="a", name="get_weather"),
        _call(0, '{"city":'),
        _call(0, '"Oslo"}', id="a", name="get_weather"),
        _call(0, {"zone": 1}, id="b", name="now"),
        finish(reason),
        usage(7, 5),
    )
    async with loaded(script) as (engine, upstream):
        told = await _told(engine, replace(question(), tools=Tools(TOOLS)))
    assert told == [
        ToolCallDelta(0, "a", "get_weather", ""),
        ToolCallDelta(0, "", "", '{"city":'),
        ToolCallDelta(0, "", "", '"Oslo"}'),
        ToolCallDelta(1, "b", "now", '{"zone":1}'),
        Finished(FinishReason.TOOL_CALLS, Usage(7, 5)),
    ]
    body = upstream.seen[0].body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather", "now"]
    assert body["tool_choice"] == "auto"
    assert "parallel_tool_calls" not in body


async def test_whom_to_call_is_told_in_openais_words_and_what_was_called_before() -> None:
    messages = (
        Message(Role.USER, "What time is it?"),
        Message(Role.ASSISTANT, "", tool_calls=(ToolCall("a", "now", "{}"),)),
        Message(Role.TOOL, "noon", tool_call_id="a"),
    )
    script = stream(_call(0, "{}", id="b", name="now"), finish())
    async with loaded(script) as (engine, upstream):
        for tools in (
            Tools(TOOLS, ToolMode.REQUIRED, "now", single_call=True),
            Tools(TOOLS, ToolMode.REQUIRED),
        ):
            await _told(engine, replace(question(), messages=messages, tools=tools))
        first, second = (seen.body for seen in upstream.seen)
    assert first["tool_choice"] == {"type": "function", "function": {"name": "now"}}
    assert (first["parallel_tool_calls"], second["tool_choice"]) == (False, "required")
    call = {"id": "a", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    assert first["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "a"},
    ]


async def test_a_call_that_was_required_and_not_made_is_a_failure() -> None:
    async with loaded() as (engine, _):
        with pytest.raises(EngineFailed, match="called no tool"):
            await _told(engine, replace(question(), tools=Tools(TOOLS, ToolMode.REQUIRED)))
