"""Chat completion bodies that are wrong: which field a refusal names."""

from typing import Any

import pytest

from tests.worker.dialects.openai.chat_bodies import CALL, USER, WEATHER, parse, refused_field
from weft_common.errors import InvalidRequest
from weft_worker.dialects.openai.chat_request import parse_chat_request


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_tokens": "abc"}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": 5}, "stop"),
        ({"stop": [5]}, "stop.0"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"ignore_eos": "true"}, "ignore_eos"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"user": 1}, "user"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages.0"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"content": "Hi"}]}, "messages.0.role"),
        ({"messages": [USER, {"role": "user"}]}, "messages.1.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": []}]}]}, "messages.0.content"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= x"}, "grammar"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 5}, "logprobs"),
        ({"logit_bias": [[1, 2]]}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": {"the": 1}}, "logit_bias.the.[key]"),
        ({"logit_bias": {str(n): 1 for n in range(301)}}, "logit_bias"),
        ({"top_k": -2}, "top_k"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
            "tools.0.function.parameters",
        ),
        ({"tools": [{"type": "retrieval"}]}, "tools.0.type"),
        ({"tools": [WEATHER] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice"),
        ({"tools": [{"type": "custom"}]}, "tools.0.custom"),
        ({"tools": [{"type": "custom", "custom": {"name": "a b"}}]}, "tools.0.custom.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "f", "format": 5}}]}, "tools.0.custom.format"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "messages.0.tool_calls"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}]},
            "messages.0.tool_calls",
        ),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"functions": [{"name": "a b"}]}, "functions.0.name"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call"),
        ({"functions": [{"name": "f"}], "tools": [WEATHER]}, "functions"),
        ({"messages": [{"role": "function", "content": "4"}]}, "messages.0.name"),
        (
            {"messages": [{"role": "user", "content": "4", "function_call": CALL["function"]}]},
            "messages.0.function_call",
        ),
        (
            {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": {}}}]},
            "messages.0.function_call.arguments",
        ),
        ({"reasoning_effort": "lots"}, "reasoning_effort"),
        ({"verbosity": "loud"}, "verbosity"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"messages": [{"role": "tool", "content": "4"}]}, "messages.0.tool_call_id"),
        (
            {"messages": [USER, {"role": "user", "content": "x", "tool_calls": [CALL]}]},
            "messages.1.tool_calls",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}],
                    }
                ]
            },
            "messages.0.tool_calls.0.function.arguments",
        ),
        ({"min_p": 1.5}, "min_p"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(fields: dict[str, Any], field: str) -> None:
    assert refused_field(**fields) == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"store": True}, "store"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ({"moderation": {"model": "m"}}, "moderation"),
        (
            {
                "tools": [
                    {
                        "type": "custom",
                        "custom": {
                            "name": "f",
                            "format": {
                                "type": "grammar",
                                "grammar": {"syntax": "lark", "definition": "x"},
                            },
                        },
                    }
                ]
            },
            "tools.0.custom.format",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages.0.content"),
        ({"messages": [USER, {"role": "assistant", "audio": {"id": "a"}}]}, "messages.1.audio"),
    ],
)
def test_what_is_not_there_is_refused_rather_than_ignored(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match="supported"):
        parse(**fields)
    assert refused_field(**fields) == field


def test_stream_options_need_a_stream() -> None:
    with pytest.raises(InvalidRequest, match="only allowed when 'stream' is enabled"):
        parse(stream_options={"include_usage": True})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"model": "m", "messages": [}', b'{"seed": NaN'])
def test_malformed_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="could not be parsed as JSON") as caught:
        parse_chat_request(body)
    assert caught.value.violations == ()


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"5"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="The body of the request cannot be used"):
        parse_chat_request(body)


def test_a_refusal_does_not_repeat_what_the_client_wrote() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(max_tokens="my secret", messages=[{"role": "my secret", "content": 5}])
    assert "secret" not in caught.value.message
