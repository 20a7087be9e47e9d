"""The chat completion body: what is taken, and what becomes of it."""

from base64 import b64encode
from typing import Any

import pytest

from tests.eye import png
from tests.worker.dialects.openai.chat_bodies import USER, generation, parse, refused_field
from weft_common.errors import InvalidRequest
from weft_worker.engines.base import (
    Effort,
    Generation,
    GrammarForm,
    Image,
    JsonForm,
    Message,
    Role,
    Sampling,
    Thinking,
)


def test_the_smallest_body_leaves_everything_to_the_engine() -> None:
    assert generation() == Generation((Message(Role.USER, "Hi"),), Sampling())


def test_all_sampling_parameters_arrive() -> None:
    said = generation(
        temperature=0,
        top_p=0.5,
        seed=-7,
        max_tokens=9,
        stop=["a", "b"],
        ignore_eos=True,
        frequency_penalty=1,
        presence_penalty=-0.5,
        top_k=40,
        min_p=0.1,
        repeat_penalty=1.1,
        logit_bias={"17": -100, "4": 2.5},
        logprobs=True,
    )
    assert said.sampling == Sampling(
        temperature=0.0,
        top_p=0.5,
        seed=-7,
        max_tokens=9,
        stop=("a", "b"),
        ignore_eos=True,
        frequency_penalty=1.0,
        presence_penalty=-0.5,
        top_k=40,
        min_p=0.1,
        repetition_penalty=1.1,
        logit_bias={17: -100.0, 4: 2.5},
        top_logprobs=0,
    )


def test_probabilities_are_told_beside_as_many_others_as_asked_for() -> None:
    assert generation(logprobs=True, top_logprobs=5).sampling.top_logprobs == 5
    assert generation(logprobs=False).sampling.top_logprobs is None


@pytest.mark.parametrize(
    ("format_", "form"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonForm('{"type":"object"}')),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"z": 1, "a": [2]}, "strict": True},
            },
            JsonForm('{"z":1,"a":[2]}'),
        ),
        ({"type": "json_schema", "json_schema": {"name": "n"}}, JsonForm('{"type":"object"}')),
    ],
)
def test_a_response_format_is_a_form(format_: object, form: JsonForm | None) -> None:
    assert generation(response_format=format_).form == form


def test_a_grammar_is_a_form_as_well() -> None:
    assert generation(grammar="root ::= x").form == GrammarForm("root ::= x")


def test_several_answers_have_seeds_of_their_own() -> None:
    seeds = [g.sampling.seed for g in parse(n=3, seed=7).to_generations()]
    assert seeds == [7, 8, 9]
    assert [g.sampling.seed for g in parse(n=2).to_generations()] == [None, None]


def _shown(url: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


RED = png((255, 0, 0))
RED_URL = f"data:image/png;base64,{b64encode(RED).decode()}"


def test_pictures_keep_their_places_among_the_texts() -> None:
    texts = [{"type": "text", "text": text} for text in ("Look: ", "here. ", "Well?")]
    content = [texts[0], texts[1], _shown(RED_URL), texts[2]]
    image = Image(RED, "image/png")
    assert generation(messages=[{"role": "user", "content": content}]).messages == (
        Message(Role.USER, "Look: here. Well?", parts=("Look: here. ", image, "Well?")),
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.com/cat.png", "not fetched from URLs"),
        ("HTTP://example.com/cat.png", "not fetched from URLs"),
        ("data:image/png;base64,###", "An image should be base64"),
        ("data:image/png,rawbytes", "data:image/png;base64"),
        ("file:///etc/passwd", "data:image/png;base64"),
        ("data:image/gif;base64,R0lGODlh", "PNG or JPEG"),
        (5, "string 'url'"),
    ],
)
def test_a_picture_that_cannot_be_shown_says_why(url: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        parse(messages=[{"role": "user", "content": [_shown(url)]}])
    assert caught.value.violations[0].field == "messages.0.content"


def test_pictures_are_counted_over_the_whole_conversation() -> None:
    crowd = [{"role": "user", "content": [_shown(RED_URL)] * 33}] * 2
    assert refused_field(messages=crowd) == "messages"
    assert refused_field(messages=[{"role": "system", "content": [_shown(RED_URL)]}, USER]) == (
        "messages.0.content"
    )


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, None),
        ({"reasoning_effort": None}, None),
        ({"reasoning_effort": "none"}, Thinking(enabled=False)),
        ({"reasoning_effort": "minimal"}, Thinking(effort=Effort.LOW)),
        ({"reasoning_effort": "medium"}, Thinking(effort=Effort.MEDIUM)),
        ({"reasoning_effort": "xhigh"}, Thinking(effort=Effort.HIGH)),
        ({"chat_template_kwargs": {"enable_thinking": False, "other": 5}}, Thinking(enabled=False)),
        ({"chat_template_kwargs": {}}, None),
    ],
)
def test_how_much_is_thought_is_asked_in_either_way(
    fields: dict[str, Any], thinking: Thinking | None
) -> None:
    assert generation(**fields).thinking == thinking


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_earlier_thoughts_come_back_as_they_were(name: str) -> None:
    said = {"role": "assistant", "content": "Hello", name: "Be nice."}
    (message,) = generation(messages=[said]).messages
    assert message == Message(Role.ASSISTANT, "Hello", reasoning="Be nice.")


def test_a_refusal_is_what_the_assistant_said() -> None:
    said = {"role": "assistant", "content": None, "refusal": "No."}
    assert generation(messages=[USER, said]).messages[1] == Message(Role.ASSISTANT, "No.")


def test_seeds_of_further_answers_stay_numbers() -> None:
    seeds = [g.sampling.seed for g in parse(n=2, seed=2**63 - 1).to_generations()]
    assert seeds == [2**63 - 1, -(2**63)]


def test_nulls_are_the_same_as_nothing() -> None:
    nothing = dict.fromkeys(
        [
            "stream",
            "stream_options",
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "top_p",
            "seed",
            "stop",
            "n",
            "frequency_penalty",
            "presence_penalty",
            "response_format",
            "logprobs",
            "top_logprobs",
            "logit_bias",
            "tools",
            "user",
            "ignore_eos",
            "modalities",
        ]
    )
    assert generation(**nothing) == generation()


def test_fields_that_ask_for_what_is_there_anyway_are_taken() -> None:
    assert (
        generation(
            n=1,
            logprobs=False,
            tools=[],
            logit_bias={},
            response_format={"type": "text"},
            modalities=["text"],
            tool_choice="none",
            user="u",
            store=False,
            metadata={"team": "a"},
            prediction={"type": "content", "content": "Hello"},
            service_tier="flex",
            safety_identifier="s",
            prompt_cache_key="k",
            prompt_cache_retention="24h",
            verbosity="low",
            function_call="none",
            functions=[],
            some_field_of_tomorrow={"a": 1},
        )
        == generation()
    )


def test_max_completion_tokens_goes_before_max_tokens() -> None:
    assert generation(max_tokens=5, max_completion_tokens=7).sampling.max_tokens == 7


@pytest.mark.parametrize(
    ("stop", "expected"), [("x", ("x",)), (["x"], ("x",)), (["", "y"], ("y",)), ("", ())]
)
def test_stop_is_a_string_or_a_list(stop: object, expected: tuple[str, ...]) -> None:
    assert generation(stop=stop).sampling.stop == expected


def test_a_developer_speaks_as_the_system() -> None:
    said = generation(messages=[{"role": "developer", "content": "Be brief."}, USER])
    assert said.messages[0] == Message(Role.SYSTEM, "Be brief.")


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert generation(messages=[{"role": "user", "content": parts}]).messages == (Message(Role.USER, "ab"),)


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    answer = {"role": "assistant", "content": "Hello", "refusal": None, "annotations": [], "tool_calls": None}
    said = generation(messages=[USER, answer, {"role": "assistant", "content": None}, USER])
    assert [message.content for message in said.messages] == ["Hi", "Hello", "", "Hi"]


def test_usage_in_a_stream_is_asked_for_by_its_options() -> None:
    assert parse(stream=True, stream_options={"include_usage": True}).include_usage
    assert not parse(stream=True, stream_options={}).include_usage
    assert not parse(stream=True).include_usage


@pytest.mark.parametrize("said", [0, -1])
def test_all_tokens_are_kept_by_either_number(said: int) -> None:
    assert parse(top_k=said).sampling(None, None).top_k == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        (0, 0.0),
        ("0", 0.0),
        (90, 90.0),
        (1.5, 1.5),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("300", 300.0),
        (-1, -1.0),
        ("-1", -1.0),
        ("-5m", -1.0),
        (1e9, -1.0),
        ("1000d", -1.0),
    ],
)
def test_a_keep_alive_has_the_forms_that_ollama_takes(said: object, seconds: float | None) -> None:
    assert parse(keep_alive=said).keep_alive == seconds


@pytest.mark.parametrize("said", ["", "-", "soon", "5 minutes", True, [], {}])
def test_a_keep_alive_that_is_none_is_named(said: object) -> None:
    assert refused_field(keep_alive=said) == "keep_alive"
