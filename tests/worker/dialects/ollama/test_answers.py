"""Ollama's answers, one object or one a line."""

from typing import Any

import orjson
import pytest

from weft_common.errors import EngineFailed
from weft_worker.dialects.ollama.answers import (
    AnswerWriter,
    End,
    Said,
    Timing,
    WholeCalls,
    chat_shape,
    generate_shape,
    timestamp,
)
from weft_worker.engines.base import (
    FinishReason,
    TokenChance,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

NOW = 1_700_000_000.25
STAMP = "2023-11-14T22:13:20.250000Z"
END = End(FinishReason.LENGTH, Usage(5, 2, 3), Timing(4.0, 0.5, 1.0, 2.5))
FIGURES = {
    "done_reason": "length",
    "total_duration": 4_000_000_000,
    "load_duration": 500_000_000,
    "prompt_eval_count": 5,
    "prompt_eval_duration": 1_000_000_000,
    "eval_count": 2,
    "eval_duration": 2_500_000_000,
}
HEAD = {"model": "m", "created_at": STAMP}
CALL = ToolCall("call_1", "add", '{\n  "a": 1\n}')


def _line(raw: bytes) -> Any:
    assert raw.count(b"\n") == 1
    assert raw.endswith(b"\n")
    return orjson.loads(raw)


def _message(**fields: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "", **fields}}


def test_a_moment_is_written_as_go_does() -> None:
    assert timestamp(NOW) == STAMP


def test_a_conversation_in_lines() -> None:
    writer = AnswerWriter("m", chat_shape)
    assert _line(writer.delta("Hi", NOW)) == {**HEAD, **_message(content="Hi"), "done": False}
    assert _line(writer.part(Said(thinking="Hm"), NOW)) == {**HEAD, **_message(thinking="Hm"), "done": False}
    assert _line(writer.end(END, NOW)) == {**HEAD, **_message(), "done": True, **FIGURES}


def test_a_prompt_in_lines() -> None:
    writer = AnswerWriter("m", generate_shape)
    assert _line(writer.delta("Hi", NOW)) == {**HEAD, "response": "Hi", "done": False}
    assert _line(writer.part(Said(thinking="Hm"), NOW)) == {
        **HEAD,
        "response": "",
        "thinking": "Hm",
        "done": False,
    }
    end = End(END.reason, END.usage, END.timing, context=(1, 2))
    assert _line(writer.end(end, NOW)) == {
        **HEAD,
        "response": "",
        "done": True,
        "context": [1, 2],
        **FIGURES,
    }


def test_a_whole_answer_with_calls_of_tools() -> None:
    whole = AnswerWriter("m", chat_shape).whole(
        Said("Hi", "Hm", [CALL]), End(FinishReason.TOOL_CALLS, END.usage, END.timing), NOW
    )
    calls = [{"id": CALL.id, "function": {"index": 0, "name": "add", "arguments": {"a": 1}}}]
    said = _message(content="Hi", thinking="Hm", tool_calls=calls)
    assert orjson.loads(whole) == {**HEAD, **said, "done": True, **FIGURES, "done_reason": "stop"}


def test_calls_are_numbered_through_an_answer_and_have_the_ids_that_engines_give() -> None:
    said = Said(calls=[CALL, ToolCall("", "sub", "")], earlier_call_count=2)
    told = _line(AnswerWriter("m", chat_shape).part(said, NOW))["message"]["tool_calls"]
    assert [(call.get("id"), call["function"]["index"]) for call in told] == [(CALL.id, 2), (None, 3)]


def test_arguments_break_no_line() -> None:
    assert _line(AnswerWriter("m", chat_shape).part(Said(calls=[CALL]), NOW))


def test_probabilities_of_tokens() -> None:
    chance = TokenChance("�", b"\xc3", -0.5)
    line = AnswerWriter("m", chat_shape).part(Said("�", logprobs=[TokenLogprob(chance, (chance,))]), NOW)
    told = {"token": "�", "logprob": -0.5, "bytes": [0xC3]}
    assert _line(line)["logprobs"] == [{**told, "top_logprobs": [told]}]


def test_loading_alone_has_no_figures() -> None:
    assert orjson.loads(AnswerWriter("m", chat_shape).nothing("load", NOW)) == {
        **HEAD,
        **_message(),
        "done": True,
        "done_reason": "load",
    }


def test_a_failure_is_a_line_with_an_error() -> None:
    assert _line(AnswerWriter("m", chat_shape).failure(EngineFailed("It broke."))) == {"error": "It broke."}


@pytest.mark.parametrize("shape", [chat_shape, generate_shape])
@pytest.mark.parametrize("text", ['"', "\\", "\n\n", "é😀\u2028", "\x00", "@", '"@"'])
@pytest.mark.parametrize("model", ["m", 'a"@"b', "\n", '"created_at":"@"'])
def test_any_text_and_any_model_name_survive(shape: Any, text: str, model: str) -> None:
    line = _line(AnswerWriter(model, shape).delta(text, NOW))
    said = line["message"]["content"] if shape is chat_shape else line["response"]
    assert (line["model"], line["created_at"], said, line["done"]) == (model, STAMP, text, False)


def test_calls_are_told_once_they_are_whole() -> None:
    calls = WholeCalls()
    assert calls.take(ToolCallDelta(0, "c0", "add", '{"a":')) == ()
    assert calls.take(ToolCallDelta(0, "", "", "1}")) == ()
    assert calls.take(ToolCallDelta(1, "c1", "sub", "")) == (ToolCall("c0", "add", '{"a":1}'),)
    assert calls.rest() == (ToolCall("c1", "sub", ""),)
    assert calls.rest() == ()


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "1"])
def test_a_call_that_was_cut_off_is_none(arguments: str) -> None:
    calls = WholeCalls()
    calls.take(ToolCallDelta(0, "c0", "add", arguments))
    assert calls.rest() == ()
