"""llama.cpp's request and chunks."""

from typing import Any

import orjson
import pytest

from weft_common.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, WeftError
from weft_worker.engines.base import Delta, Finished, FinishReason, Generation, Message, Role, Sampling, Usage
from weft_worker.engines.llamacpp.answer import Answer
from weft_worker.engines.llamacpp.wire import encode_request


def _body(**sampling: Any) -> dict[str, Any]:
    generation = Generation((Message(Role.USER, "Hi"),), Sampling(**sampling))
    body: dict[str, Any] = orjson.loads(encode_request(generation))
    return body


def _chunk(content: str | None = None, finish_reason: str | None = None, **fields: Any) -> str:
    choice = {
        "index": 0,
        "delta": {} if content is None else {"content": content},
        "finish_reason": finish_reason,
    }
    return orjson.dumps({"choices": [choice], **fields}).decode()


def test_unset_parameters_are_left_to_the_library() -> None:
    assert _body() == {
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }


def test_zero_is_a_value() -> None:
    body = _body(temperature=0.0, top_p=0.0, seed=0)
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.0, 0.0, 0)


ASKED = Generation((Message(Role.USER, "Hi"),))


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**63 - 1, -(2**63)])
def test_every_seed_becomes_one_that_the_library_does_not_draw(seed: int) -> None:
    assert 0 <= _body(seed=seed)["seed"] < 2**32 - 1


def test_penalties_count_over_the_whole_text() -> None:
    assert _body(frequency_penalty=0.5)["repeat_last_n"] == 32_768
    assert "repeat_last_n" not in _body(frequency_penalty=0.0)


def test_names_are_passed_on_where_there_are_any() -> None:
    generation = Generation((Message(Role.USER, "Hi", "alice"),))
    assert orjson.loads(encode_request(generation))["messages"][0]["name"] == "alice"


def test_the_answer_is_put_together_from_its_chunks() -> None:
    answer = Answer(ASKED)
    progress = orjson.dumps(
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]}
    ).decode()
    assert answer.read([progress]) == []
    assert answer.read([_chunk("a"), _chunk("b"), _chunk("")]) == [Delta("ab", 2)]
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
    last = orjson.dumps({"choices": [], "usage": usage}).decode()
    assert answer.read([_chunk(finish_reason="length"), last]) == []
    assert answer.finish() == Finished(FinishReason.LENGTH, Usage(3, 2, 1))


def test_the_library_says_which_stop_string_it_found_where_it_is_one_that_was_asked_for() -> None:
    assert "verbose" not in _body()
    assert _body(stop=("a", "b"))["verbose"] is True
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    for word, told in (("b", "b"), ("<|im_end|>", ""), ("", "")):
        answer = Answer(Generation((Message(Role.USER, "Hi"),), Sampling(stop=("a", "b"))))
        last = _chunk(finish_reason="stop", usage=usage, __verbose={"stopping_word": word, "prompt": "Hi"})
        assert answer.read([last]) == []
        assert answer.finish() == Finished(FinishReason.STOP, Usage(3, 2), told)


def test_an_answer_without_its_end_is_a_failure() -> None:
    answer = Answer(ASKED)
    answer.read([_chunk("a")])
    with pytest.raises(EngineFailed, match="without saying why"):
        answer.finish()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            {"type": "exceed_context_size_error", "message": "m", "n_prompt_tokens": 9, "n_ctx": 8},
            ContextLengthExceeded,
            "maximum context length is 8 tokens.*9 tokens",
        ),
        ({"type": "exceed_context_size_error", "message": "too long"}, ContextLengthExceeded, "too long"),
        ({"type": "invalid_request_error", "message": "no such role"}, InvalidRequest, "no such role"),
        ({"type": "server_error", "message": "it broke"}, EngineFailed, "it broke"),
        ({}, EngineFailed, "llama.cpp failed"),
    ],
)
def test_an_error_chunk_is_the_failure_it_tells_of(error: object, kind: type[WeftError], words: str) -> None:
    with pytest.raises(kind, match=words):
        Answer(ASKED).read([orjson.dumps({"error": error}).decode()])
