"""What is told of a tool whose schema the library cannot read."""

import json
from typing import Any

import pytest

from weft_worker.engines.llamacpp.plain_tools import may_be_endless, plain_parameters, readable


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (True, {"type": "object"}),
        ({"properties": []}, {"type": "object"}),
        (
            {
                "properties": {
                    "a": {"type": "file", "description": "A file."},
                    "b": {"type": ["string", "null"]},
                    "c": True,
                    "d": {"type": "integer", "minimum": 5, "description": 7},
                },
                "required": ["a", "z", 5],
                "$ref": "#",
            },
            {
                "type": "object",
                "properties": {"a": {"description": "A file."}, "b": {}, "c": {}, "d": {"type": "integer"}},
                "required": ["a"],
            },
        ),
    ],
)
def test_names_plain_types_and_descriptions_are_left(parameters: Any, expected: Any) -> None:
    assert plain_parameters(parameters) == expected


@pytest.mark.parametrize(
    ("odd", "left"),
    [
        (
            {"type": "integer", "minimum": -(2**63), "maximum": -(2**63) + 5},
            {"type": "integer", "minimum": -(2**62)},
        ),
        ({"type": "array", "minItems": 2**40, "maxItems": 2**40}, {"type": "array", "maxItems": 10_000}),
        ({"type": "number", "minimum": 1e300}, {"type": "number"}),
        ({"pattern": "^(a{1000}){1000}$", "description": "x"}, {"description": "x"}),
        ({"enum": [1234567890123456789, 1]}, {}),
    ],
)
def test_what_would_be_without_end_is_left_out_and_the_rest_stays(odd: Any, left: Any) -> None:
    unit = {"type": "string", "enum": ["C", "F"]}
    text = json.dumps({"type": "object", "properties": {"odd": odd, "unit": unit}})
    assert may_be_endless(text)
    assert readable(text) == {"type": "object", "properties": {"odd": left, "unit": unit}}


@pytest.mark.parametrize("schema", [True, [], {"$ref": "#/nowhere", "properties": {"a": {"type": "string"}}}])
def test_what_cannot_be_bounded_is_told_in_plain_words(schema: Any) -> None:
    plain = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert readable(json.dumps(schema)) == (plain if isinstance(schema, dict) else schema)


def test_a_long_schema_stays_as_it_is() -> None:
    properties = {f"p{index}": {"type": "string", "pattern": "^a{5}$"} for index in range(700)}
    assert readable(json.dumps({"properties": properties})) == {"properties": properties}


@pytest.mark.parametrize(
    ("text", "may_be"),
    [
        ("", False),
        ('{"properties": {"a": {"type": "array", "maxItems": 1000, "description": "one of 1234"}}}', False),
        ('{"properties": {"a": {"minItems": 10000}}}', True),
        ('{"properties": {"a": {"minItems": 1e5}}}', True),
        ('{"properties": {"a": {"p\\u0061ttern": "x"}}}', True),
        ('{"$ref": "#/$defs/a"}' * 101, True),
    ],
)
def test_few_tools_need_a_closer_look(text: str, may_be: bool) -> None:
    assert may_be_endless(text) == may_be
