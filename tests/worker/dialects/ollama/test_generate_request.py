"""The body of /api/generate: what is taken, what becomes of it, and which field a refusal names."""

import base64
from typing import Any

import orjson
import pytest

from tests.eye import png
from weft_common.errors import InvalidRequest
from weft_worker.dialects.ollama.generate_request import GenerateRequest, parse_generate_request
from weft_worker.engines.base import Completion, Generation, Image, JsonForm, Message, Role, Sampling

PNG = base64.b64encode(png((1, 2, 3))).decode()


def _parse(**fields: Any) -> GenerateRequest:
    return parse_generate_request(orjson.dumps({"model": "m", "prompt": "Hi", **fields}))


def test_a_prompt_is_what_a_user_says() -> None:
    request = _parse()
    assert request.to_asked() == Generation((Message(Role.USER, "Hi"),))
    assert (request.is_streamed, request.is_empty, request.is_text) == (True, False, False)


def test_all_that_a_conversation_can_have() -> None:
    request = _parse(
        system="Be brief.", images=[PNG], format="json", options={"seed": 1}, stream=False, keep_alive="5m"
    )
    assert request.to_asked() == Generation(
        (
            Message(Role.SYSTEM, "Be brief."),
            Message(Role.USER, "Hi", parts=(Image(png((1, 2, 3)), "image/png"), "Hi")),
        ),
        Sampling(seed=1),
        JsonForm('{"type":"object"}'),
    )
    assert (request.is_streamed, request.keep_alive) == (False, 300)


@pytest.mark.parametrize("prompt", ["", None])
def test_no_prompt_is_nothing_to_answer(prompt: str | None) -> None:
    assert _parse(prompt=prompt).is_empty


def test_some_prompts_are_texts_to_go_on_with() -> None:
    sampling = Sampling(seed=1)
    assert _parse(raw=True, options={"seed": 1}).to_asked() == Completion("Hi", sampling)
    assert _parse(suffix=".").to_asked() == Completion("Hi", suffix=".")
    assert _parse(context=[1, 2], format="json").to_asked((3,)) == Completion(
        (1, 2, 3), form=JsonForm('{"type":"object"}')
    )


def test_empty_values_ask_for_nothing() -> None:
    names = ("system", "suffix", "template")
    assert _parse(**dict.fromkeys(names, ""), raw=False, images=[], context=[], format="").to_asked() == (
        _parse().to_asked()
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"raw": True, "system": "x"}, "raw mode does not support template, system, or context"),
        ({"raw": True, "template": "x"}, "raw mode does not support template, system, or context"),
        ({"raw": True, "context": [1]}, "raw mode does not support template, system, or context"),
        ({"template": "{{ .Prompt }}"}, "template: Only the model's own template is supported"),
        ({"raw": True, "images": [PNG]}, "images: Images can be shown in a new conversation only"),
        ({"context": [1], "images": [PNG]}, "images: Images can be shown in a new conversation only"),
        ({"context": [1], "suffix": "."}, "suffix: Only in a text of its own is there a gap to fill"),
        ({"prompt": "x" * 5_000_000}, "prompt: Should be 4,096 KiB at most"),
        ({"images": ["?"]}, "images.0: Should be base64"),
        ({"context": ["a"]}, "context.0: "),
        ({"context": [-1]}, "context.0: "),
        ({"prompt": 5}, "prompt: "),
        ({"system": ["x"]}, "system: "),
    ],
)
def test_a_refusal_says_what_is_wrong(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    assert words in caught.value.message
