"""The body of /api/chat: what is taken, what becomes of it, and which field a refusal names."""

import base64
from typing import Any

import orjson
import pytest

from tests.eye import png
from weft_common.errors import InvalidRequest
from weft_worker.dialects.ollama.chat_request import ChatRequest, parse_chat_request
from weft_worker.engines.base import (
    Effort,
    Generation,
    Image,
    JsonForm,
    Message,
    Role,
    Sampling,
    Thinking,
    Tool,
    ToolCall,
    ToolMode,
    Tools,
)

USER = {"role": "user", "content": "Hi"}
PNG = base64.b64encode(png((1, 2, 3))).decode()
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def _parse(**fields: Any) -> ChatRequest:
    return parse_chat_request(orjson.dumps({"model": "m", "messages": [USER], **fields}))


def _generation(**fields: Any) -> Generation:
    return _parse(**fields).to_asked()


def _sampling(**options: Any) -> Sampling:
    return _generation(options=options).sampling


def _refused_field(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    field = caught.value.violations[0].field
    assert field in caught.value.message
    return field


def test_the_smallest_body_leaves_everything_to_the_engine_and_is_streamed() -> None:
    request = _parse()
    assert request.to_asked() == Generation((Message(Role.USER, "Hi"),))
    assert (request.is_streamed, request.is_empty, request.keep_alive) == (True, False, None)


def test_nulls_are_what_was_left_out_and_unknown_fields_are_nothing() -> None:
    names = ["stream", "format", "options", "keep_alive", "think", "logprobs", "top_logprobs", "tools"]
    assert _parse(**dict.fromkeys(names), truncate=True) == _parse()
    assert _generation(options={"num_ctx": 4096, "mirostat": 1, "seed": None}) == _generation()


@pytest.mark.parametrize("messages", [[], None])
def test_no_messages_are_nothing_to_answer(messages: Any) -> None:
    assert _parse(messages=messages).is_empty


def test_options_become_sampling() -> None:
    options = {
        "num_predict": 7,
        "temperature": 0.5,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.05,
        "seed": 42.0,
        "stop": ["x", ""],
        "repeat_penalty": 1.1,
        "presence_penalty": 1,
        "frequency_penalty": -1,
    }
    assert _sampling(**options) == Sampling(
        temperature=0.5,
        top_p=0.9,
        seed=42,
        max_tokens=7,
        stop=("x",),
        frequency_penalty=-1,
        presence_penalty=1,
        top_k=40,
        min_p=0.05,
        repetition_penalty=1.1,
    )


@pytest.mark.parametrize(
    "options",
    [{"num_predict": -1}, {"num_predict": -2}, {"num_predict": 0}, {"seed": -1}, {"stop": []}, {"stop": ""}],
)
def test_values_that_say_nothing_leave_it_to_the_engine(options: dict[str, Any]) -> None:
    assert _sampling(**options) == Sampling()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (0, 0),
        (90, 90),
        ("1h30m", 5400),
        (31_622_400, 31_622_400),
        (31_622_401, -1),
        (2**63 - 1, -1),
        (1e300, -1),
        ("99999999999h", -1),
        ("1" * 400, -1),
        ("-5m", -1),
        (-1, -1),
    ],
)
def test_a_model_stays_for_ever_where_more_than_a_year_is_wished(said: object, seconds: float) -> None:
    assert _parse(keep_alive=said).keep_alive == seconds


def test_there_may_be_many_stop_strings() -> None:
    assert len(_sampling(stop=["x"] * 128).stop) == 128


def test_one_stop_string_may_be_no_list() -> None:
    assert _sampling(stop="end").stop == ("end",)


def test_probabilities_are_told_where_asked_for() -> None:
    assert _generation(logprobs=True).sampling.top_logprobs == 0
    assert _generation(logprobs=True, top_logprobs=3).sampling.top_logprobs == 3
    assert _generation(top_logprobs=3).sampling.top_logprobs is None


@pytest.mark.parametrize(
    ("asked", "form"),
    [
        ("", None),
        ("json", JsonForm('{"type":"object"}')),
        ({"type": "array"}, JsonForm('{"type":"array"}')),
    ],
)
def test_formats_become_forms(asked: Any, form: JsonForm | None) -> None:
    assert _generation(format=asked).form == form


@pytest.mark.parametrize(
    ("think", "thinking"),
    [
        (None, None),
        (False, Thinking(enabled=False)),
        (True, Thinking()),
        ("low", Thinking(effort=Effort.LOW)),
        ("high", Thinking(effort=Effort.HIGH)),
    ],
)
def test_how_much_to_think(think: Any, thinking: Thinking | None) -> None:
    assert _generation(think=think).thinking == thinking


def test_earlier_thoughts_stay_with_their_messages() -> None:
    said = {"role": "assistant", "content": "Yes.", "thinking": "Hm."}
    assert _generation(messages=[USER, said]).messages[1] == Message(Role.ASSISTANT, "Yes.", reasoning="Hm.")


def test_pictures_come_before_the_words_of_their_message() -> None:
    for image in (PNG, f"data:image/png;base64,{PNG}"):
        (message,) = _generation(messages=[{**USER, "images": [image]}]).messages
        assert message == Message(Role.USER, "Hi", parts=(Image(png((1, 2, 3)), "image/png"), "Hi"))


def test_tools_are_offered() -> None:
    schema = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'
    assert _generation(tools=[WEATHER]).tools == Tools(
        (Tool("get_weather", "Tells the weather.", schema),), ToolMode.AUTO
    )


@pytest.mark.parametrize("name", ["issues.list", "github/search", "server:do-it", "a" * 128])
def test_names_of_tools_are_those_of_servers_of_tools(name: str) -> None:
    tools = _generation(tools=[{"type": "function", "function": {"name": name}}]).tools
    assert tools is not None
    assert [tool.name for tool in tools.tools] == [name]


def test_results_find_the_calls_that_they_answer() -> None:
    def call(name: str, **more: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {"n": 1}}, **more}

    generation = _generation(
        messages=[
            USER,
            {"role": "assistant", "tool_calls": [call("a"), call("b"), call("a"), call("c", id="mine")]},
            {"role": "tool", "content": "B", "tool_name": "b"},
            {"role": "tool", "content": "C", "tool_call_id": "mine"},
            {"role": "tool", "content": "A1"},
            {"role": "Tool", "content": "A2", "tool_name": "a"},
            {"role": "tool", "content": "?", "tool_name": "d"},
        ]
    )
    asked = '{"n":1}'
    assert generation.messages == (
        Message(Role.USER, "Hi"),
        Message(
            Role.ASSISTANT,
            "",
            tool_calls=(
                ToolCall("call_1", "a", asked),
                ToolCall("call_2", "b", asked),
                ToolCall("call_3", "a", asked),
                ToolCall("mine", "c", asked),
            ),
        ),
        Message(Role.TOOL, "B", "b", tool_call_id="call_2"),
        Message(Role.TOOL, "C", "c", tool_call_id="mine"),
        Message(Role.TOOL, "A1", "a", tool_call_id="call_1"),
        Message(Role.TOOL, "A2", "a", tool_call_id="call_3"),
        Message(Role.TOOL, "?", "d", tool_call_id="call_5"),
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{**USER, "role": "robot"}]}, "messages.0.role"),
        ({"messages": [{**USER, "content": [{"type": "text", "text": "Hi"}]}]}, "messages.0.content"),
        ({"messages": [{**USER, "images": ["?"]}]}, "messages.0.images.0"),
        ({"messages": [{**USER, "images": ["R0lG"]}]}, "messages.0.images.0"),
        ({"messages": [{**USER, "role": "system", "images": [PNG]}]}, "messages.0.images"),
        ({"messages": [{**USER, "tool_calls": [{"function": {"name": "a"}}]}]}, "messages.0.tool_calls"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": ""}}]}
                ]
            },
            "messages.0.tool_calls.0.function.arguments",
        ),
        ({"stream": "no"}, "stream"),
        ({"format": "xml"}, "format"),
        ({"format": ["json"]}, "format"),
        ({"think": "enormously"}, "think"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": True}, "keep_alive"),
        ({"keep_alive": "-"}, "keep_alive"),
        ({"keep_alive": [5]}, "keep_alive"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"options": [1]}, "options"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"top_p": 2}}, "options.top_p"),
        ({"options": {"seed": True}}, "options.seed"),
        ({"options": {"stop": [1]}}, "options.stop.0"),
        ({"options": {"stop": ["x"] * 129}}, "options.stop"),
        ({"tools": [{"function": {"name": "no spaces"}}]}, "tools.0.function.name"),
        (
            {"tools": [{"function": {"name": "a", "parameters": {"type": "array"}}}]},
            "tools.0.function.parameters",
        ),
        ({"model": ""}, "model"),
    ],
)
def test_a_refusal_names_the_field(fields: dict[str, Any], named: str) -> None:
    assert _refused_field(**fields).startswith(named)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"m"', b"null"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_chat_request(body)
