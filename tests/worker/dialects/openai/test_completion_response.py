"""OpenAI's answers to a completion, exact to the null."""

from math import nan
from typing import Any

import orjson
import pytest

from weft_common.errors import EngineFailed
from weft_worker.dialects.openai.answer import Head
from weft_worker.dialects.openai.completion_response import TextChoice, TextWriter, text_object
from weft_worker.engines.base import Delta, FinishReason, TokenChance, TokenLogprob, Usage

HEAD = Head("cmpl-1", 1_700_000_000, "weft-tiny", "fp_abc")
LENGTH, TOKENS = FinishReason.LENGTH, Usage(5, 2, 3)
COMMON = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1_700_000_000,
    "model": "weft-tiny",
    "system_fingerprint": "fp_abc",
}


def _events(raw: bytes) -> list[Any]:
    lines = raw.decode().removesuffix("\n\n").split("\n\n")
    return [text if (text := line[6:]) == "[DONE]" else orjson.loads(text) for line in lines]


def _choice(text: str, reason: str | None = None, **fields: object) -> list[dict[str, object]]:
    return [{"index": 0, "logprobs": None, "finish_reason": reason, "text": text, **fields}]


def _told(text: str, logprob: float, **likeliest: float) -> TokenLogprob:
    chances = tuple(TokenChance(name, name.encode(), each) for name, each in likeliest.items())
    return TokenLogprob(TokenChance(text, text.encode(), logprob), chances)


def test_a_whole_answer() -> None:
    whole = orjson.loads(text_object(HEAD, [TextChoice("Hi", LENGTH)], TOKENS))
    usage = whole.pop("usage")
    assert whole == {**COMMON, "choices": _choice("Hi", "length")}
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 2, 7)


def test_a_stream_has_objects_of_the_same_shape_and_one_done() -> None:
    writer = TextWriter(HEAD, include_usage=False)
    assert writer.start() == b""
    assert _events(writer.delta(Delta("Hi"))) == [{**COMMON, "choices": _choice("Hi")}]
    assert _events(writer.finish(LENGTH) + writer.done(TOKENS)) == [
        {**COMMON, "choices": _choice("", "length")},
        "[DONE]",
    ]


def test_usage_is_null_until_its_own_event_where_it_was_asked_for() -> None:
    writer = TextWriter(HEAD, include_usage=True, index=1)
    (first,) = _events(writer.delta(Delta("Hi")))
    assert (first["usage"], first["choices"][0]["index"]) == (None, 1)
    end, done = _events(writer.done(TOKENS))
    assert (end["choices"], end["usage"]["total_tokens"], done) == ([], 7, "[DONE]")


@pytest.mark.parametrize("text", ['"', "\\", "\n\n", "data: ", "é😀\u2028", "\x00", "@", '"@"'])
@pytest.mark.parametrize("model", ["m", 'a"@"b', "\n"])
def test_any_text_and_any_model_name_survive(text: str, model: str) -> None:
    (event,) = _events(TextWriter(Head("cmpl-1", 0, model, "fp"), include_usage=False).delta(Delta(text)))
    assert (event["model"], event["choices"]) == (model, _choice(text))


def test_a_failure_is_an_error_event_without_done() -> None:
    (event,) = _events(TextWriter(HEAD, include_usage=True).failure(EngineFailed("It broke.")))
    assert event["error"]["message"] == "It broke."


def test_probabilities_are_told_by_the_names_and_places_of_tokens() -> None:
    told = [_told("Hé", -0.5, Hé=-0.5, Ha=-1.5), _told(" you", -2.0, me=-0.25)]
    (choice,) = orjson.loads(text_object(HEAD, [TextChoice("Hé you", LENGTH, told)], TOKENS))["choices"]
    assert choice["logprobs"] == {
        "tokens": ["Hé", " you"],
        "token_logprobs": [-0.5, -2.0],
        "top_logprobs": [{"Hé": -0.5, "Ha": -1.5}, {" you": -2.0, "me": -0.25}],
        "text_offset": [0, 2],
    }
    writer = TextWriter(HEAD, include_usage=False)
    events = [_events(writer.delta(Delta(each.chosen.text, 1, (each,))))[0] for each in told]
    assert [event["choices"][0]["logprobs"]["text_offset"] for event in events] == [[0], [2]]


def test_without_others_only_the_chosen_tokens_are_told() -> None:
    (choice,) = orjson.loads(text_object(HEAD, [TextChoice("a", LENGTH, [_told("a", -1.0)])], TOKENS))[
        "choices"
    ]
    assert (choice["logprobs"]["tokens"], choice["logprobs"]["top_logprobs"]) == (["a"], None)


def test_parts_of_characters_are_named_by_their_bytes_and_begin_where_the_character_does() -> None:
    parts = [
        TokenLogprob(TokenChance("\ufffd", data, -1.0)) for data in ("é".encode()[:1], "é".encode()[1:], b"x")
    ]
    (choice,) = orjson.loads(text_object(HEAD, [TextChoice("éx", LENGTH, parts)], TOKENS))["choices"]
    assert choice["logprobs"]["tokens"] == ["bytes:\\xc3", "bytes:\\xa9", "x"]
    assert choice["logprobs"]["text_offset"] == [0, 0, 1]


def test_the_first_token_of_a_prompt_has_no_probability() -> None:
    told = [_told("a", nan), _told("b", -1.0, b=-1.0)]
    (choice,) = orjson.loads(text_object(HEAD, [TextChoice("ab", LENGTH, told)], TOKENS))["choices"]
    assert choice["logprobs"]["token_logprobs"] == [None, -1.0]
    assert choice["logprobs"]["top_logprobs"] == [None, {"b": -1.0}]
