"""The embeddings body and its answer: all forms of inputs, and vectors as numbers or base64."""

import struct
from array import array
from base64 import b64decode
from typing import Any

import orjson
import pytest

from weft_common.errors import InvalidRequest
from weft_worker.dialects.openai.embedding import EmbeddingRequest, embedding_list, parse_embedding_request
from weft_worker.dialects.openai.inputs import Inputs
from weft_worker.engines.abilities import InputTooLong, unknown_token

VECTORS = [array("f", [0.6, 0.8]), array("f", [1.0, 0.0])]


def _parse(**fields: Any) -> EmbeddingRequest:
    return parse_embedding_request(orjson.dumps({"model": "m", "input": "cat", **fields}))


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("cat", Inputs(("cat",), is_list=False)),
        (["cat", "kitten"], Inputs(("cat", "kitten"), is_list=True)),
        ([1, 2], Inputs(((1, 2),), is_list=False)),
        ([[1, 2], [3]], Inputs(((1, 2), (3,)), is_list=True)),
    ],
)
def test_inputs_are_texts_or_tokens_one_or_several(given: object, inputs: Inputs) -> None:
    assert _parse(input=given).input == inputs


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": None}, "input"),
        ({"input": {}}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "x" * (4 << 20) + "x"}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": ["a", 5]}, "input.1"),
        ({"input": ["a", [5]]}, "input.1"),
        ({"input": [[1], []]}, "input.1"),
        ({"input": [[1], "a"]}, "input.1"),
        ({"input": [1, True]}, "input"),
        ({"input": [1, -1]}, "input"),
        ({"input": [True]}, "input.0"),
        ({"input": [1.5]}, "input.0"),
        ({"model": ""}, "model"),
        ({"encoding_format": "binary"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "8"}, "dimensions"),
        ({"user": 5}, "user"),
        ({"keep_alive": "soon"}, "keep_alive"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    assert caught.value.violations[0].field == field


def test_vectors_are_told_as_numbers_or_as_their_bytes() -> None:
    numbers = orjson.loads(embedding_list(_parse(), VECTORS, 4))
    assert [each.pop("embedding") for each in numbers["data"]] == [pytest.approx([0.6, 0.8]), [1.0, 0.0]]
    assert numbers == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0}, {"object": "embedding", "index": 1}],
        "model": "m",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    (first, _) = orjson.loads(embedding_list(_parse(encoding_format="base64"), VECTORS, 4))["data"]
    assert struct.unpack("<2f", b64decode(first["embedding"])) == tuple(VECTORS[0])


@pytest.mark.parametrize(("is_list", "name"), [(True, "input.1"), (False, "input")])
def test_what_an_engine_says_of_an_input_is_told_by_the_callers_name(*, is_list: bool, name: str) -> None:
    inputs = Inputs(("a", "b"), is_list=is_list)
    for error in (InputTooLong(1, 9, 8), unknown_token(1, 77, 50)):
        told = inputs.renamed(error, "input")
        assert (type(told), told.reason) == (type(error), error.reason)
        assert told.violations[0].field == name
        assert name in told.message
        assert "inputs" not in told.message


def test_what_an_engine_says_of_something_else_stays() -> None:
    error = InvalidRequest("No such thing.")
    assert Inputs(("a",), is_list=True).renamed(error, "input") is error
