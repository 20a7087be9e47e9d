"""Tokens become events: stop strings never leak, calls are told as calls, and the count is exact."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from weft_worker.engines.base import (
    Completion,
    Delta,
    Event,
    Finished,
    FinishReason,
    Generation,
    ReasoningDelta,
    Sampling,
    Tool,
    ToolCallDelta,
    ToolMode,
    Tools,
    Usage,
)
from weft_worker.engines.spoken_thoughts import thoughts_after
from weft_worker.engines.transformers.answer import Answer, joined


def _bytes(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode(errors="replace")


def _answer(tools: Tools | None = None, **sampling: Any) -> Answer:
    return Answer(Generation((), Sampling(**sampling), tools=tools), _bytes, 7)


def _read(answer: Answer, text: str, reason: FinishReason = FinishReason.STOP) -> list[Event]:
    told: list[Event] = []
    for byte in text.encode():
        told += answer.read(byte, None)
        if answer.is_stopped:
            break
    return [_bare(event) for event in joined([*told, *answer.end(reason)])]


def _bare(event: Event) -> Event:
    """Without what the first one tells of the prompt."""
    return event if isinstance(event, Finished) else replace(event, prompt=None)


@pytest.mark.parametrize(
    ("stop", "said", "count", "found"),
    [
        (("END",), "abEN", 7, "END"),
        (("b", "EN"), "a", 2, "b"),
        (("never",), "abENENDx", 8, ""),
        (("ENDx",), "abEN", 8, "ENDx"),
    ],
)
def test_a_stop_string_is_no_part_of_the_answer(
    stop: tuple[str, ...], said: str, count: int, found: str
) -> None:
    told = _read(_answer(stop=stop), "abENENDx")
    assert [each.text for each in told if isinstance(each, Delta)] == [said]
    assert told[-1] == Finished(FinishReason.STOP, Usage(7, count), found)


def test_text_that_may_become_a_stop_string_is_held_back() -> None:
    answer = _answer(stop=("STOP",))
    assert answer.read(ord("a"), None) == [Delta("a", prompt=Usage(7, 0))]
    assert answer.read(ord("S"), None) == []
    assert answer.read(ord("T"), None) == []
    assert answer.read(ord("x"), None) == [Delta("STx", 3)]


def test_what_was_held_is_told_at_the_end() -> None:
    assert _read(_answer(stop=("STOP",)), "aST", FinishReason.LENGTH) == [
        Delta("aST", 3),
        Finished(FinishReason.LENGTH, Usage(7, 3)),
    ]


def test_a_stop_string_may_be_whole_only_at_the_end() -> None:
    answer = _answer(stop=("\ufffd",))
    assert answer.read(0xC3, None) == []
    assert answer.end(FinishReason.LENGTH) == [Finished(FinishReason.STOP, Usage(7, 1), "\ufffd")]


def test_of_several_stop_strings_the_one_that_begins_first_is_told() -> None:
    told = _read(_answer(stop=("b", "abc", "ab")), "xab")
    assert told[-1] == Finished(FinishReason.STOP, Usage(7, 3), "ab")
    assert _read(_answer(stop=("cd", "ab")), "xy")[-1] == Finished(FinishReason.STOP, Usage(7, 2))


def test_the_token_that_ends_an_answer_counts() -> None:
    answer = _answer()
    answer.read(ord("a"), None)
    assert answer.end(FinishReason.STOP, by_token=True) == [Finished(FinishReason.STOP, Usage(7, 2))]


def test_calls_in_text_are_told_as_calls() -> None:
    tools = Tools((Tool("look"),))
    told = _read(_answer(tools), 'Hm.\n<tool_call>{"name": "look", "arguments": {"at": 1}}</tool_call>')
    said, call, end = told
    assert isinstance(call, ToolCallDelta)
    assert isinstance(end, Finished)
    assert (said, call.name, call.arguments) == (Delta("Hm.", 3), "look", '{"at": 1}')
    assert end.reason is FinishReason.TOOL_CALLS


def test_after_the_only_call_that_is_taken_the_answer_is_over() -> None:
    answer = _answer(Tools((Tool("look"),), single_call=True))
    told = _read(answer, '<tool_call>{"name": "look", "arguments": {}}</tool_call> and so on')
    assert answer.is_stopped
    assert [type(each) for each in told] == [ToolCallDelta, Finished]


def test_a_call_that_had_to_be_is_read_from_its_object() -> None:
    tools = Tools((Tool("look"),), mode=ToolMode.REQUIRED)
    (call, end) = _read(_answer(tools), '{"name": "look", "arguments": {"at": 1}}')
    assert isinstance(call, ToolCallDelta)
    assert (call.name, call.arguments) == ("look", '{"at": 1}')
    assert isinstance(end, Finished)
    assert end.reason is FinishReason.TOOL_CALLS


def test_no_stop_string_breaks_a_call_that_has_to_be() -> None:
    tools = Tools((Tool("look"),), mode=ToolMode.REQUIRED)
    text = '{"name": "look", "arguments": {"city": "Paris"}}'
    (call, end) = _read(_answer(tools, stop=("Par", '"')), text)
    assert isinstance(call, ToolCallDelta)
    assert call.arguments == '{"city": "Paris"}'
    assert end == Finished(FinishReason.TOOL_CALLS, Usage(7, len(text)))


def test_a_call_that_has_to_be_and_is_cut_off_is_told_to_its_last_letter() -> None:
    tools = Tools((Tool("look"),), mode=ToolMode.REQUIRED)
    text = '{"name": "look", "arguments": {"city": "Par'
    (call, end) = _read(_answer(tools), text, FinishReason.LENGTH)
    assert isinstance(call, ToolCallDelta)
    assert call.arguments == '{"city": "Par'
    assert end == Finished(FinishReason.LENGTH, Usage(7, len(text)))


def test_where_no_tool_may_be_called_calls_are_text() -> None:
    tools = Tools((Tool("look"),), mode=ToolMode.NONE)
    text = '<tool_call>{"name": "look", "arguments": {}}</tool_call>'
    assert _read(_answer(tools), text)[0] == Delta(text, len(text))


def test_an_answer_that_was_cut_says_so_also_after_a_call() -> None:
    answer = _answer(Tools((Tool("look"),)))
    told = _read(
        answer, '<tool_call>{"name": "look", "arguments": {}}</tool_call>\n<tool', FinishReason.LENGTH
    )
    assert [type(each) for each in told] == [ToolCallDelta, Delta, Finished]
    assert isinstance(told[-1], Finished)
    assert told[-1].reason is FinishReason.LENGTH


def test_thoughts_come_first_and_calls_are_read_behind_them() -> None:
    asked = Generation((), tools=Tools((Tool("f"),)))
    answer = Answer(asked, _bytes, 7, thoughts=thoughts_after(""))
    thought, call, end = _read(answer, '<think>\nhm\n</think>\n\n<tool_call>{"name": "f"}</tool_call>')
    assert thought == ReasoningDelta("hm", 10)
    assert isinstance(call, ToolCallDelta)
    assert isinstance(end, Finished)
    assert (end.reason, end.usage.reasoning_token_count) == (FinishReason.TOOL_CALLS, 19)


def test_an_echo_comes_first_and_tells_of_the_prompt() -> None:
    told = Answer(Completion("x", Sampling()), _bytes, 7, echo=Delta("x", 0)).end(FinishReason.LENGTH)
    assert told == [Delta("x", 0, prompt=Usage(7, 0)), Finished(FinishReason.LENGTH, Usage(7, 0))]


def test_an_echo_is_told_by_itself_also_where_text_has_gathered_behind_it() -> None:
    echo = Delta("x", 0, prompt=Usage(7, 0))
    assert joined([echo, Delta("a"), Delta("b")]) == [echo, Delta("ab", 2)]
