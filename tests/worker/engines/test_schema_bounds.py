"""A schema that its library cannot hold is tightened where the answer stays right, and refused by name where not.

Some of these ended the process, took all memory, or lost digits before.
"""

import json
from typing import Any

import jsonschema
import pytest

from weft_common.errors import InvalidRequest
from weft_worker.engines.json_form import check_schema, keeps
from weft_worker.engines.pattern_size import pattern_size
from weft_worker.engines.schema_bounds import bounded

FLAG = {"type": "boolean"}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}


def chain(count: int) -> dict[str, Any]:
    """So many definitions, each of which refers to the next."""
    link = {"type": "object", "required": ["x"], "additionalProperties": False}
    defs = {
        f"d{index}": {**link, "properties": {"x": {"$ref": f"#/$defs/d{index + 1}"}}}
        for index in range(count - 1)
    }
    return {"$defs": {**defs, f"d{count - 1}": {"type": "null"}}, "$ref": "#/$defs/d0"}


def optional(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{index}": FLAG for index in range(count)}}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"const": -(2**63)}, "const: -9223372036854775808 has more digits"),
        ({"properties": {"a": {"enum": ["x", {"b": [-(2**63)]}]}}}, "enum: -9223372036854775808"),
        ({"const": 2**53 + 1}, "const: 9007199254740993 has more digits"),
        ({"enum": [1234567890123456789]}, "enum: 1234567890123456789 has more digits"),
        ({"const": 12345678901234567890123}, "const"),
        ({"type": "integer", "minimum": -(2**63), "maximum": -(2**63) + 5}, "maximum: -9223372036854775803"),
        ({"type": "integer", "minimum": -(10**20), "maximum": -(10**19)}, "maximum"),
        ({"type": "integer", "minimum": 10**30, "maximum": 10**30 + 3}, f"minimum: {10**30}"),
        ({"type": "integer", "exclusiveMinimum": 2**63}, "exclusiveMinimum"),
        ({"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 1}, "greater than maximum"),
        ({"type": "array", "items": FLAG, "minItems": 2**40}, "minItems: at most 10,000"),
        ({"type": "array", "items": FLAG, "minItems": 10_001}, "minItems: at most 10,000"),
        ({"type": "object", "minProperties": 1e12}, "minProperties: at most 10,000"),
        ({"type": "string", "minLength": 2**40}, "minLength: at most 1,000,000"),
        ({"anyOf": [{"type": "array", "minItems": 10_000}] * 6}, "minItems: at most 50,000 of all arrays"),
        ({"type": "string", "pattern": "^(a{1000}){1000}$"}, "pattern: it repeats too often"),
        (
            {"type": "object", "patternProperties": {"^(a{1000}){1000}$": FLAG}},
            "patternProperties: it repeats",
        ),
        ({"type": "integer", "multipleOf": 1_000_003}, "multipleOf: 1000003 has too many remainders"),
        ({"type": "number", "multipleOf": 1.00000007}, "multipleOf: 1.00000007 has"),
        ({"type": "integer", "minimum": 10**400}, "minimum: 1000"),
        ({"items": {"pattern": r"(?x)^((a{ 1000 }){ 1000 }){ 1000 }$"}}, "pattern: it repeats too often"),
        ({"anyOf": [{"pattern": "^a{40000}$"}] * 3}, "pattern: all of them together"),
        ({"$ref": "#/x", "x": {"const": -(2**63)}}, r"\$ref: '#/x' leads to no schema"),
        ({"$ref": "#/default", "default": {"const": -(2**63)}}, r"\$ref: '#/default' leads to no schema"),
        (
            {"$ref": "#/components/schemas/x", "components": {"schemas": {"x": {"const": -(2**63)}}}},
            "const: -9",
        ),
        ({"$ref": "#a", "x": {"$anchor": "a", "const": -(2**63)}}, r"\$ref: '#a' leads to no schema"),
        ({"$ref": "https://elsewhere.example/x"}, r"\$ref: 'https://elsewhere"),
        ({"$ref": "#/$defs/none"}, r"\$ref: '#/\$defs/none' leads"),
        (DRAFT_7 | {"type": "array", "items": [{"const": -(2**63)}]}, "const: -9223372036854775808"),
        (DRAFT_7 | {"items": [FLAG], "additionalItems": {"const": -(2**63)}}, "const: -9223372036854775808"),
        (chain(502), r"\$ref: at most 500"),
        (chain(5000), r"\$ref: at most 500"),
        (optional(801), "properties: at most 800"),
        ({"$ref": "#"}, "refers to nothing but itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "itself"),
        ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}, "oneOf: its schemas overlap"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        check_schema(json.dumps(schema), "form")
    assert caught.value.violations[0].field == "form"


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"const": 2**60}, [2**60], [2**60 + 1]),
        ({"enum": [2**53 + 2, 7]}, [2**53 + 2, 7], [2**53]),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, [0, -5, 2**62], []),
        ({"type": "integer", "minimum": 0, "maximum": 2**64 - 1}, [0, 2**53], [-1]),
        ({"type": "number", "minimum": -3.4e38, "maximum": 3.4e38}, [0.5, -12], []),
        ({"type": "integer", "exclusiveMaximum": 2**53 + 1}, [2**53 - 1], [2**53 + 1, 2**53 + 2]),
        ({"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 3}, [2**53 + 2], [2**53]),
        ({"type": "array", "items": FLAG, "maxItems": 10**6}, [[], [True]], [[1]]),
        (
            {"type": "object", "additionalProperties": FLAG, "maxProperties": 10**9},
            [{}, {"a": True}],
            [{"a": 1}],
        ),
        ({"type": "string", "maxLength": 2**40}, ["", "abc"], [1]),
        ({"type": "array", "items": FLAG, "minItems": 2, "maxItems": 3}, [[True, False]], [[True]]),
        ({"exclusiveMinimum": 1.5, "type": "number"}, [1.75], [1.5]),
        ({"type": "integer", "multipleOf": 86_400}, [0, 172_800], [86_401]),
        ({"type": "number", "multipleOf": 0.01}, [0.25], [0.255]),
        (
            {"properties": {"a": {"$ref": "#/$defs/x~1y%20z"}}, "$defs": {"x/y z": FLAG}},
            [{"a": True}],
            [{"a": 1}],
        ),
        ({"properties": {"a": FLAG, "b": {"$ref": "#/properties/a"}}}, [{"b": False}], [{"b": 0}]),
        (
            {"properties": {"a": {"$ref": "#f"}}, "$defs": {"x": {"$anchor": "f", **FLAG}}},
            [{"a": True}],
            [{"a": 1}],
        ),
        ({"$id": "https://a.example/s", "properties": {"a": {"$ref": "#"}}}, [{"a": {"a": {}}}], [{"b": 1}]),
        ({"$ref": "#/components/schemas/x", "components": {"schemas": {"x": FLAG}}}, [True], [1]),
        (chain(3), [{"x": {"x": None}}], [{"x": None}]),
        (optional(4), [{"p0": True, "p3": False}], [{"p0": 1}]),
        ({"type": "string", "pattern": "^[a-z]{2}$"}, ["ab"], ["abc"]),
    ],
)
def test_what_is_tightened_stays_right(schema: dict[str, Any], right: list[Any], wrong: list[Any]) -> None:
    text = json.dumps(schema)
    check_schema(text, "form")
    for value in right:
        jsonschema.validate(value, schema)
        assert keeps(text, json.dumps(value)), value
    for value in wrong:
        assert not keeps(text, json.dumps(value)), value


def test_what_is_no_number_is_the_librarys_to_judge() -> None:
    schema = {
        "minimum": True,
        "maximum": "7",
        "maxItems": None,
        "const": True,
        "pattern": 5,
        "properties": [],
    }
    assert bounded(schema) == schema


def test_bounds_are_shared_out_among_arrays() -> None:
    lists = [{"type": "array", "maxItems": 10_000, "minItems": least} for least in (0, 0, 0, 0, 0, 9_999)]
    made = bounded({"prefixItems": [*lists, {"maxItems": 10**9}, {"maxItems": 5}]})
    assert [each["maxItems"] for each in made["prefixItems"]] == [6_250] * 5 + [9_999, 6_250, 5]


def test_what_is_only_shown_loses_one_keyword() -> None:
    odd = {"enum": [1234567890123456789], "description": "an id"}
    schema = {
        "properties": {"id": odd, "unit": {"enum": ["C", "F"]}, "n": {"minimum": 2**70, "maximum": 2**70}}
    }
    assert bounded(schema, leaves_out=True) == {
        "properties": {
            "id": {"description": "an id"},
            "unit": {"enum": ["C", "F"]},
            "n": {"maximum": 2**62},
        }
    }


# Each takes below a second; what reads them more than once takes minutes, and more.
@pytest.mark.timeout(120)
@pytest.mark.parametrize("text", ["[", "\\p{", "(", "\\", "{1,", "a{9", "[^]"])
def test_long_patterns_are_read_once(text: str) -> None:
    assert pattern_size("a" + text * 200_000) >= 1


@pytest.mark.parametrize("schema", [chain(500), optional(800), {"items": {"pattern": "^[a-z]{49998}$"}}])
def test_as_much_as_is_told_passes_the_bounds(schema: dict[str, Any]) -> None:
    assert bounded(schema) == schema


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("^abc$", 5),
        ("a{7}", 7),
        ("(ab{3}c){4}d", 21),
        ("[a-z{9}]{5}", 5),
        (r"\{9}\(x\)", 6),
        (r"\p{Letter}{3}", 3),
        (r"[\]{9}]{2}", 2),
        ("a{2,}b{,3}c{1,4}", 11),
        ("((a{10}){10}){10}", 1000),
        ("a)b{3}(c", 6),
        ("(a|b){50}", 100),
    ],
)
def test_the_size_of_a_pattern_is_what_it_may_ask_for(pattern: str, size: int) -> None:
    assert pattern_size(pattern) == size
