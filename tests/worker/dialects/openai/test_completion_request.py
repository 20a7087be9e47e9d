"""The completion body: prompts in all forms, and which field a refusal names."""

from typing import Any

import orjson
import pytest

from weft_common.errors import InvalidRequest
from weft_worker.dialects.openai.completion_request import CompletionRequest, parse_completion_request
from weft_worker.engines.base import Completion, GrammarForm, JsonForm, Sampling


def _parse(**fields: Any) -> CompletionRequest:
    return parse_completion_request(orjson.dumps({"model": "m", "prompt": "Once", **fields}))


def test_the_smallest_body_asks_for_sixteen_tokens() -> None:
    assert _parse().to_completions() == [Completion("Once", Sampling(max_tokens=16))]


def test_all_that_is_asked_arrives() -> None:
    (completion,) = _parse(
        suffix="The end.", echo=True, max_tokens=0, logprobs=3, temperature=0.5, stop="x", best_of=1, user="u"
    ).to_completions()
    sampling = Sampling(temperature=0.5, max_tokens=0, stop=("x",), top_logprobs=3)
    assert completion == Completion("Once", sampling, None, "The end.", echo=True)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [(1, 2)]), ([[1], [2, 3]], [(1,), (2, 3)])],
)
def test_prompts_are_texts_or_tokens_one_or_several(prompt: object, prompts: list[object]) -> None:
    assert [completion.prompt for completion in _parse(prompt=prompt).to_completions()] == prompts


@pytest.mark.parametrize("prompt", [None, "", [""]])
def test_an_empty_prompt_begins_a_new_document(prompt: object) -> None:
    assert [completion.prompt for completion in _parse(prompt=prompt).to_completions()] == [""]


def test_so_does_none() -> None:
    assert parse_completion_request(b'{"model": "m"}').to_completions()[0].prompt == ""


def test_each_prompt_gets_its_answers_with_seeds_of_their_own() -> None:
    request = _parse(prompt=["a", "b"], n=2, seed=7)
    assert [(c.prompt, c.sampling.seed) for c in request.to_completions()] == [
        ("a", 7),
        ("a", 8),
        ("b", 7),
        ("b", 8),
    ]
    assert request.answers_per_prompt == 2


def test_answers_may_have_a_form() -> None:
    assert _parse(grammar="root ::= x").to_completions()[0].form == GrammarForm("root ::= x")
    format_ = {"type": "json_object"}
    assert _parse(response_format=format_).to_completions()[0].form == JsonForm('{"type":"object"}')


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt.1"),
        ({"prompt": [[1], []]}, "prompt.1"),
        ({"prompt": [[1], ["a"]]}, "prompt.1"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 65, "n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1, "echo": True}, "max_tokens"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": "yes"}, "echo"),
        ({"suffix": 5}, "suffix"),
        ({"suffix": "x" * (4 << 20) + "x"}, "suffix"),
        ({"best_of": 0}, "best_of"),
        ({"best_of": 2}, "best_of"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"temperature": 3}, "temperature"),
        ({"stop": [1]}, "stop.0"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    assert caught.value.violations[0].field == field


def test_the_best_of_several_is_not_chosen_here() -> None:
    with pytest.raises(InvalidRequest, match="best_of: Only 1 is supported"):
        _parse(best_of=3)
