"""Calls in a model's text are found however the text is cut, and everything else stays text."""

import json

import pytest

from weft_worker.engines.base import Delta, TokenChance, TokenLogprob, Tool, ToolCallDelta, Tools
from weft_worker.engines.spoken_calls import SpokenCalls, Told

_WEATHER = Tools((Tool("get_weather"), Tool("get_time")))
_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
_TIME = '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>'


def _read(text: str, step: int, offered: Tools = _WEATHER) -> list[Told]:
    calls = SpokenCalls(offered)
    pieces = [Delta(text[at : at + step]) for at in range(0, len(text), step)]
    return [*(each for piece in pieces for each in calls.read(piece)), *calls.finish()]


def _text(told: list[Told]) -> str:
    return "".join(each.text for each in told if isinstance(each, Delta))


def _calls(told: list[Told]) -> list[tuple[int, str, object]]:
    return [
        (each.index, each.name, json.loads(each.arguments))
        for each in told
        if isinstance(each, ToolCallDelta)
    ]


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        ("No call at all.\n", "No call at all.\n", []),
        (_CALL, "", [(0, "get_weather", {"city": "Paris"})]),
        (f"Let me see.\n{_CALL}\n", "Let me see.", [(0, "get_weather", {"city": "Paris"})]),
        (f"{_CALL}\n{_TIME}", "", [(0, "get_weather", {"city": "Paris"}), (1, "get_time", {})]),
        (f"{_TIME} and more", " and more", [(0, "get_time", {})]),
        ("a < b <tool b <tool_call", "a < b <tool b <tool_call", []),
        ("<tool_call>{broken</tool_call> so", "<tool_call>{broken</tool_call> so", []),
        (f"<tool_call>oops {_TIME}", "<tool_call>oops", [(0, "get_time", {})]),
        (_TIME.removesuffix("</tool_call>"), "", [(0, "get_time", {})]),
        (_CALL[:40], _CALL[:40], []),
        ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>',) * 2 + ([],),
        ('<tool_call>["get_time"]</tool_call>',) * 2 + ([],),
        ('<tool_call>{"name": "get_time", "arguments": 3}</tool_call>',) * 2 + ([],),
        (
            '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Köln\\"}"}</tool_call>',
            "",
            [(0, "get_weather", {"city": "Köln"})],
        ),
    ],
)
def test_text_and_calls_are_told_apart(
    step: int, text: str, said: str, calls: list[tuple[int, str, object]]
) -> None:
    told = _read(text, step)
    assert (_text(told), _calls(told)) == (said, calls)
    assert all(each.text for each in told if isinstance(each, Delta))


def test_text_before_a_call_is_told_at_once() -> None:
    calls = SpokenCalls(_WEATHER)
    assert calls.read(Delta("Let me")) == [Delta("Let me")]
    assert calls.read(Delta(" see\n<tool")) == [Delta(" see")]
    assert calls.read(Delta("s>")) == [Delta("\n<tools>", 1)]


def test_where_one_call_is_all_that_is_taken_nothing_follows_it() -> None:
    offered = Tools(_WEATHER.tools, single_call=True)
    calls = SpokenCalls(offered)
    told = calls.read(Delta(f"{_CALL}{_TIME} and so on"))
    assert _calls(told) == [(0, "get_weather", {"city": "Paris"})]
    assert calls.is_over
    assert [*calls.read(Delta("more")), *calls.finish()] == []


def test_tokens_and_their_probabilities_go_with_their_text() -> None:
    def chance(text: str) -> TokenLogprob:
        return TokenLogprob(TokenChance(text, text.encode(), -0.5))

    calls = SpokenCalls(_WEATHER)
    pieces = ["I", " say", " <", "tool", " it"]
    told = [each for piece in pieces for each in calls.read(Delta(piece, 1, (chance(piece),)))]
    assert told == [
        Delta("I", 1, (chance("I"),)),
        Delta(" say", 1, (chance(" say"),)),
        Delta(" <tool it", 3, (chance(" <"), chance("tool"), chance(" it"))),
    ]


def test_each_call_has_an_id_of_its_own() -> None:
    ids = [each.id for each in _read(f"{_CALL}{_TIME}", 5) if isinstance(each, ToolCallDelta)]
    assert len(set(ids)) == 2
    assert all(id_.startswith("call_") for id_ in ids)


@pytest.mark.parametrize("said", ['<tool_call>\n{"name', "<tool", _CALL + "\n<tool_call>\n{", "\n"])
def test_half_a_call_is_no_text_where_the_answer_has_a_form(said: str) -> None:
    for size in (1, 3, len(said)):
        spoken = SpokenCalls(Tools((Tool("get_weather"), Tool("get_time"))), is_formed=True)
        pieces = [said[at : at + size] for at in range(0, len(said), size)]
        told = [*(each for piece in pieces for each in spoken.read(Delta(piece))), *spoken.finish()]
        assert all(isinstance(each, ToolCallDelta) for each in told)


def test_the_end_of_other_text_is_told_where_the_answer_has_a_form() -> None:
    spoken = SpokenCalls(Tools((Tool("f"),)), is_formed=True)
    told = [*spoken.read(Delta('{"a": "<')), *spoken.finish()]
    assert "".join(each.text for each in told if isinstance(each, Delta)) == '{"a": "<'
