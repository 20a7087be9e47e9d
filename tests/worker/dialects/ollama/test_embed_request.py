"""The bodies of /api/embed and /api/embeddings."""

from typing import Any

import orjson
import pytest

from weft_common.errors import InvalidRequest
from weft_worker.dialects.ollama.embed_request import (
    EmbedRequest,
    parse_embed_request,
    parse_embeddings_request,
)


def _parse(**fields: Any) -> EmbedRequest:
    return parse_embed_request(orjson.dumps({"model": "m", **fields}))


@pytest.mark.parametrize(
    ("asked", "texts"),
    [("Hi", ["Hi"]), (["a", "b"], ["a", "b"]), ("", []), ([], []), (None, [])],
)
def test_one_text_or_several_or_none(asked: Any, texts: list[str]) -> None:
    assert _parse(input=asked).input == texts


def test_what_is_left_out() -> None:
    request = _parse()
    assert (request.input, request.may_truncate, request.wished_dimensions) == ([], True, None)


def test_all_that_can_be_said() -> None:
    request = _parse(input="Hi", truncate=False, dimensions=64, keep_alive=0, options={"num_ctx": 5})
    assert (request.may_truncate, request.wished_dimensions, request.keep_alive) == (False, 64, 0)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": 5}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 5]}, "input.1"),
        ({"input": [[1, 2]]}, "input.0"),
        ({"input": "a", "dimensions": "64"}, "dimensions"),
        ({"input": "a", "truncate": 1}, "truncate"),
    ],
)
def test_a_refusal_names_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    assert caught.value.violations[0].field == field


def test_the_older_form_has_one_prompt() -> None:
    assert parse_embeddings_request(b'{"model": "m", "prompt": "Hi"}').prompt == "Hi"
    with pytest.raises(InvalidRequest, match="prompt"):
        parse_embeddings_request(b'{"model": "m", "prompt": ["Hi"]}')
