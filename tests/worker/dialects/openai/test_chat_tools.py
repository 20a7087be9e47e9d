"""Tools in the chat completion body: what is offered, which of it is to be called, and what was called before."""

from typing import Any

import pytest

from tests.worker.dialects.openai.chat_bodies import (
    CALL,
    USER,
    WEATHER,
    WEATHER_TOOL,
    generation,
    parse,
    refused_field,
)
from weft_worker.engines.base import Message, Role, Tool, ToolCall, ToolMode, Tools


@pytest.mark.parametrize(
    ("fields", "tools"),
    [
        ({}, Tools((WEATHER_TOOL,))),
        ({"tool_choice": "none"}, Tools((WEATHER_TOOL,), ToolMode.NONE)),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            Tools((WEATHER_TOOL,), ToolMode.REQUIRED, "", True),
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
            Tools((WEATHER_TOOL,), ToolMode.REQUIRED, "get_weather"),
        ),
    ],
)
def test_tools_arrive_with_the_choice_of_them(fields: dict[str, Any], tools: Tools) -> None:
    assert generation(tools=[WEATHER], **fields).tools == tools


ALLOWED = {"type": "function", "function": {"name": "get_weather"}}
OTHER = {"type": "function", "function": {"name": "other"}}


@pytest.mark.parametrize(
    ("mode", "tools"),
    [("auto", Tools((WEATHER_TOOL,))), ("required", Tools((WEATHER_TOOL,), ToolMode.REQUIRED))],
)
def test_of_allowed_tools_only_those_are_offered(mode: str, tools: Tools) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [ALLOWED]}}
    assert generation(tools=[WEATHER, OTHER], tool_choice=choice).tools == tools


def test_where_no_tool_is_allowed_there_is_none() -> None:
    choice: dict[str, Any] = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert generation(tools=[WEATHER], tool_choice=choice).tools is None
    choice["allowed_tools"]["mode"] = "required"
    assert refused_field(tools=[WEATHER], tool_choice=choice) == "tool_choice"


@pytest.mark.parametrize(
    "choice",
    [
        "any",
        5,
        {},
        {"type": "function"},
        {"type": "function", "function": {"name": 5}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [5]}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}},
    ],
)
def test_a_choice_that_is_none_is_named(choice: object) -> None:
    assert refused_field(tools=[WEATHER], tool_choice=choice) == "tool_choice"


TEXT_SCHEMA = '{"type":"object","properties":{"input":%s},"required":["input"],"additionalProperties":false}'


@pytest.mark.parametrize(
    ("format_", "schema"),
    [
        (None, '{"type":"string"}'),
        ({"type": "text"}, '{"type":"string"}'),
        (
            {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}},
            '{"type":"string","pattern":"^(?:a+)$"}',
        ),
    ],
)
def test_a_tool_that_takes_a_text_has_it_for_its_argument(format_: object, schema: str) -> None:
    custom = {"type": "custom", "custom": {"name": "write", "description": "Writes.", "format": format_}}
    choice = {"type": "custom", "custom": {"name": "write"}}
    call = {"id": "c1", "type": "custom", "custom": {"name": "write", "input": 'a "b"'}}
    request = parse(
        tools=[custom],
        tool_choice=choice,
        messages=[USER, {"role": "assistant", "tool_calls": [call]}],
    )
    assert request.custom_tools == {"write"}
    (said,) = request.to_generations()
    assert said.tools == Tools((Tool("write", "Writes.", TEXT_SCHEMA % schema),), ToolMode.REQUIRED, "write")
    assert said.messages[1].tool_calls == (ToolCall("c1", "write", '{"input":"a \\"b\\""}'),)


def test_a_call_without_arguments_has_none() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    (message,) = generation(messages=[{"role": "assistant", "tool_calls": [call]}]).messages
    assert message.tool_calls == (ToolCall("c1", "f", "{}"),)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"city": "Zanzib', '{"input":"{\\"city\\": \\"Zanzib"}'),
        ("null", '{"input":"null"}'),
        ("[]", '{"input":"[]"}'),
        ('"x"', '{"input":"\\"x\\""}'),
        ("Zanzibar", '{"input":"Zanzibar"}'),
        ("", "{}"),
        (" \n", "{}"),
        ('{"city": "Paris"}', '{"city": "Paris"}'),
    ],
)
def test_arguments_that_are_no_object_come_back_as_the_text_of_one(arguments: str, told: str) -> None:
    function = {"name": "f", "arguments": arguments}
    calls = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}
    old = {"role": "assistant", "content": None, "function_call": function}
    new, former = generation(messages=[calls, old]).messages
    assert (new.tool_calls, former.tool_calls) == (
        (ToolCall("c1", "f", told),),
        (ToolCall("function_f", "f", told),),
    )


@pytest.mark.parametrize(
    ("choice", "mode", "name"),
    [
        (None, ToolMode.AUTO, ""),
        ("auto", ToolMode.AUTO, ""),
        ("none", ToolMode.NONE, ""),
        ({"name": "get_weather"}, ToolMode.REQUIRED, "get_weather"),
    ],
)
def test_functions_are_tools_of_which_one_is_called(choice: object, mode: ToolMode, name: str) -> None:
    request = parse(functions=[WEATHER["function"]], function_call=choice)
    assert request.tells_functions
    assert request.to_generations()[0].tools == Tools((WEATHER_TOOL,), mode, name, single_call=True)


def test_what_a_function_said_belongs_to_its_call() -> None:
    call = {"role": "assistant", "content": None, "function_call": CALL["function"]}
    result = {"role": "function", "name": "get_weather", "content": "sunny"}
    assert generation(messages=[USER, call, result]).messages[1:] == (
        Message(
            Role.ASSISTANT,
            "",
            "",
            (ToolCall("function_get_weather", "get_weather", '{"city": "Paris"}'),),
        ),
        Message(Role.TOOL, "sunny", "", (), "function_get_weather"),
    )


def test_calls_and_what_tools_said_are_sent_back_as_they_came() -> None:
    said = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    result = {"role": "tool", "content": [{"type": "text", "text": "sunny"}], "tool_call_id": "c1"}
    assert generation(messages=[*said, result]).messages[1:] == (
        Message(Role.ASSISTANT, "", "", (ToolCall("c1", "get_weather", '{"city": "Paris"}'),)),
        Message(Role.TOOL, "sunny", "", (), "c1"),
    )
