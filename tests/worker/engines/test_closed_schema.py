"""What a schema leaves open is closed, unless it is told in several places."""

import json
from typing import Any

import pytest

from weft_worker.engines.closed_schema import closed
from weft_worker.engines.json_form import keeps

A = {"type": "object", "properties": {"a": {"type": "integer"}}}
SHUT = {**A, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (A, SHUT),
        ({"items": A}, {"items": SHUT}),
        ({"anyOf": [A, {"type": "null"}]}, {"anyOf": [SHUT, {"type": "null"}]}),
        ({"$ref": "#/$defs/A", "$defs": {"A": A}}, {"$ref": "#/$defs/A", "$defs": {"A": SHUT}}),
        (
            {"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": A}},
            {"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": SHUT}},
        ),
        ({"properties": {"b": A}}, {"properties": {"b": SHUT}, "additionalProperties": False}),
        ({"additionalProperties": A}, {"additionalProperties": SHUT}),
    ],
)
def test_objects_are_closed_wherever_they_are(schema: Any, expected: Any) -> None:
    assert closed(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {**A, "additionalProperties": True},
        {**A, "patternProperties": {"^x": {"type": "string"}}},
        {"type": "object"},
        {"const": A},
        {"properties": {"properties": {"type": "string"}}, "additionalProperties": {"enum": [A]}},
        {"allOf": [A, {"properties": {"b": {"type": "null"}}}]},
        {**A, "anyOf": [{"properties": {"b": {"type": "null"}}}, {"required": ["a"]}]},
        {**A, "$ref": "#/$defs/B", "$defs": {"B": {"properties": {"b": {"type": "null"}}}}},
        True,
        5,
    ],
)
def test_what_says_more_or_is_told_in_parts_stays_as_it_is(schema: Any) -> None:
    assert closed(schema) == schema


def test_an_answer_has_no_property_that_its_schema_does_not_name() -> None:
    schema = json.dumps({"type": "object", "properties": {"in": A}, "required": ["in"]})
    assert keeps(schema, '{"in": {"a": 1}}')
    assert not keeps(schema, '{"in": {"a": 1, "b": 2}}')
    assert not keeps(schema, '{"in": {}, "b": 2}')
