"""OpenAI's answers, exact to the null."""

from typing import Any

import orjson
import pytest

from weft_common.errors import EngineFailed
from weft_worker.backend.gathered import ToolCalls
from weft_worker.dialects.openai.answer import Head
from weft_worker.dialects.openai.chat_response import (
    CallForms,
    Choice,
    ChunkWriter,
    completion_object,
)
from weft_worker.engines.base import (
    Delta,
    FinishReason,
    ReasoningDelta,
    TokenChance,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

HEAD = Head("chatcmpl-1", 1_700_000_000, "weft-tiny", "fp_abc")
LENGTH, TOKENS = FinishReason.LENGTH, Usage(5, 2, 3)
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def _chunk(**fields: object) -> dict[str, object]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "weft-tiny",
        "service_tier": "default",
        "system_fingerprint": "fp_abc",
        **fields,
    }


def _choice(delta: dict[str, object], finish_reason: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


def _events(raw: bytes) -> list[object]:
    assert raw.endswith(b"\n\n")
    lines = raw.decode().removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [text if (text := line[6:]) == "[DONE]" else orjson.loads(text) for line in lines]


def test_a_whole_answer() -> None:
    assert orjson.loads(completion_object(HEAD, [Choice("Hi", LENGTH)], TOKENS)) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "weft-tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_abc",
    }


def test_a_stream_opens_with_the_role_and_ends_with_the_reason_and_one_done() -> None:
    writer = ChunkWriter(HEAD, include_usage=False)
    assert _events(writer.start()) == [
        _chunk(choices=_choice({"role": "assistant", "content": "", "refusal": None}))
    ]
    assert _events(writer.delta(Delta("Hi"))) == [_chunk(choices=_choice({"content": "Hi"}))]
    assert _events(writer.finish(LENGTH) + writer.done(TOKENS)) == [
        _chunk(choices=_choice({}, "length")),
        "[DONE]",
    ]


def test_in_front_of_a_call_a_stream_opens_without_an_empty_text() -> None:
    assert _events(ChunkWriter(HEAD, include_usage=False).start(begins_call=True)) == [
        _chunk(choices=_choice({"role": "assistant", "content": None, "refusal": None}))
    ]


def test_several_answers_are_told_apart() -> None:
    whole = orjson.loads(
        completion_object(HEAD, [Choice("a", LENGTH), Choice("b", FinishReason.STOP)], TOKENS)
    )
    assert [
        (choice["index"], choice["message"]["content"], choice["finish_reason"])
        for choice in whole["choices"]
    ] == [(0, "a", "length"), (1, "b", "stop")]
    (event,) = _events(ChunkWriter(HEAD, include_usage=False, index=1).delta(Delta("Hi")))
    assert isinstance(event, dict)
    assert event["choices"] == [{**_choice({"content": "Hi"})[0], "index": 1}]


def test_usage_is_null_until_its_own_chunk_where_it_was_asked_for() -> None:
    writer = ChunkWriter(HEAD, include_usage=True)
    assert _events(writer.delta(Delta("Hi"))) == [_chunk(choices=_choice({"content": "Hi"}), usage=None)]
    assert _events(writer.finish(LENGTH) + writer.done(TOKENS)) == [
        _chunk(choices=_choice({}, "length"), usage=None),
        _chunk(choices=[], usage=USAGE),
        "[DONE]",
    ]


@pytest.mark.parametrize("text", ['"', "\\", "\n\n", "data: ", "é😀\u2028", "\x00", "@", '"@"'])
@pytest.mark.parametrize("model", ["m", 'a"@"b', "\n"])
def test_any_text_and_any_model_name_survive(text: str, model: str) -> None:
    writer = ChunkWriter(Head("chatcmpl-1", 0, model, "fp"), include_usage=False)
    (event,) = _events(writer.delta(Delta(text)))
    assert isinstance(event, dict)
    assert event["model"] == model
    assert event["choices"] == _choice({"content": text})


def test_a_failure_is_an_error_event_without_done() -> None:
    writer = ChunkWriter(HEAD, include_usage=True)
    assert _events(writer.failure(EngineFailed("It broke."))) == [
        {"error": {"message": "It broke.", "type": "server_error", "param": None, "code": "engine_failed"}}
    ]


E_ACUTE = TokenLogprob(TokenChance("\u00e9", b"\xc3\xa9", -0.5), (TokenChance("\ufffd", b"\xc3", -0.25),))
TOLD = {
    "content": [
        {
            "token": "\u00e9",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "\ufffd", "logprob": -0.25, "bytes": [195]}],
        }
    ],
    "refusal": None,
}


PARTS = (
    ToolCallDelta(0, "a1", "get_weather", "{"),
    ToolCallDelta(0, "", "", '"x": 1}'),
    ToolCallDelta(1, "b2", "f", "{}"),
)


def test_calls_of_tools_are_told_in_parts() -> None:
    writer = ChunkWriter(HEAD, include_usage=False)
    events: list[Any] = [_events(writer.tool_call(part))[0] for part in PARTS]
    assert [call for event in events for call in event["choices"][0]["delta"]["tool_calls"]] == [
        {
            "index": 0,
            "id": "a1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": "{"},
        },
        {"index": 0, "function": {"arguments": '"x": 1}'}},
        {"index": 1, "id": "b2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]


def test_calls_of_tools_are_told_as_a_whole() -> None:
    calls = ToolCalls()
    for part in PARTS:
        calls.take(part)
    choice = Choice("", FinishReason.TOOL_CALLS, None, calls.whole())
    (whole,) = orjson.loads(completion_object(HEAD, [choice], TOKENS))["choices"]
    assert (whole["finish_reason"], whole["message"]["content"]) == ("tool_calls", None)
    assert whole["message"]["tool_calls"] == [
        {"id": "a1", "type": "function", "function": {"name": "get_weather", "arguments": '{"x": 1}'}},
        {"id": "b2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]


def test_thoughts_are_told_beside_the_answer_and_counted() -> None:
    writer = ChunkWriter(HEAD, include_usage=False)
    assert _events(writer.reasoning(ReasoningDelta("Hm."))) == [
        _chunk(choices=_choice({"reasoning_content": "Hm."}))
    ]
    choice = Choice("Hi", FinishReason.STOP, reasoning="Hm.")
    whole = orjson.loads(completion_object(HEAD, [choice], Usage(5, 4, 0, 2)))
    message = whole["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Hi")
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


def test_a_call_of_a_function_is_told_in_the_old_form() -> None:
    writer = ChunkWriter(HEAD, include_usage=False, calls=CallForms(are_functions=True))
    events: list[Any] = [_events(writer.tool_call(part))[0] for part in PARTS[:2]]
    assert [event["choices"][0]["delta"] for event in events] == [
        {"function_call": {"name": "get_weather", "arguments": "{"}},
        {"function_call": {"arguments": '"x": 1}'}},
    ]
    (end,) = _events(writer.finish(FinishReason.TOOL_CALLS))
    assert isinstance(end, dict)
    assert end["choices"] == _choice({}, "function_call")
    calls = ToolCalls()
    for part in PARTS[:2]:
        calls.take(part)
    choice = Choice("", FinishReason.TOOL_CALLS, None, calls.whole())
    (whole,) = orjson.loads(completion_object(HEAD, [choice], TOKENS, CallForms(are_functions=True)))[
        "choices"
    ]
    assert (whole["finish_reason"], whole["message"]) == (
        "function_call",
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "annotations": [],
            "function_call": {"name": "get_weather", "arguments": '{"x": 1}'},
        },
    )


def test_calls_with_a_text_are_told_once_they_are_complete() -> None:
    forms = CallForms(of_texts=frozenset({"write"}))
    parts = (
        ToolCallDelta(0, "a1", "write", '{"in'),
        ToolCallDelta(0, "", "", 'put": "x = \\"1\\""}'),
        ToolCallDelta(1, "b2", "f", "{}"),
    )
    writer = ChunkWriter(HEAD, include_usage=False, calls=forms)
    assert [writer.tool_call(part) for part in parts[:2]] == [b"", b""]
    (other,) = _events(writer.tool_call(parts[2]))
    custom = {"id": "a1", "type": "custom", "custom": {"name": "write", "input": 'x = "1"'}}
    function = {"id": "b2", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert isinstance(other, dict)
    assert other["choices"] == _choice({"tool_calls": [{"index": 1, **function}]})
    assert _events(writer.finish(FinishReason.TOOL_CALLS)) == [
        _chunk(choices=_choice({"tool_calls": [{"index": 0, **custom}]})),
        _chunk(choices=_choice({}, "tool_calls")),
    ]
    calls = ToolCalls()
    for part in parts:
        calls.take(part)
    choice = Choice("", FinishReason.TOOL_CALLS, None, calls.whole())
    (whole,) = orjson.loads(completion_object(HEAD, [choice], TOKENS, forms))["choices"]
    assert whole["message"]["tool_calls"] == [custom, function]


def test_what_a_model_made_up_instead_of_a_text_is_told_as_it_is() -> None:
    forms = CallForms(of_texts=frozenset({"write"}))
    for arguments in ('{"inp', '{"other": 1}', "[]", '{"input": 5}'):
        told: Any = forms.whole(ToolCall("a", "write", arguments))
        assert told["custom"]["input"] == arguments


def test_probabilities_stand_beside_the_text_in_a_stream_and_in_an_object() -> None:
    chunk = ChunkWriter(HEAD, include_usage=False).delta(Delta("\u00e9", 1, (E_ACUTE,)))
    (choice,) = orjson.loads(chunk.removeprefix(b"data: "))["choices"]
    assert (choice["delta"], choice["logprobs"]) == ({"content": "\u00e9"}, TOLD)
    (whole,) = orjson.loads(completion_object(HEAD, [Choice("\u00e9", LENGTH, [E_ACUTE])], TOKENS))["choices"]
    assert whole["logprobs"] == TOLD
