"""What asks for nothing is no reason to refuse a schema."""

import json
from typing import Any

import pytest

from weft_common.errors import InvalidRequest
from weft_worker.engines.json_form import check_schema, keeps
from weft_worker.engines.plain_schema import plain

NAMED = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    "more",
    [
        {"uniqueItems": False},
        {"propertyNames": {"type": "string"}},
        {"propertyNames": {}},
        {"dependentRequired": {}},
        {"required": None},
        {"additionalProperties": None},
        {"$schema": "https://json-schema.org/draft-07/schema#"},
        {"$schema": "http://json-schema.org/schema#"},
        {"$schema": "http://json-schema.org/draft/2020-12/schema"},
    ],
)
def test_what_asks_for_nothing_is_left_out_wherever_it_is(more: dict[str, Any]) -> None:
    assert plain({**NAMED, **more}) == NAMED
    nested = {"type": "object", "properties": {"b": {**NAMED, **more}}}
    assert plain(nested) == {"type": "object", "properties": {"b": NAMED}}
    check_schema(json.dumps(nested), "f")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "uniqueItems": True},
        {"type": "object", "propertyNames": {"pattern": "^a"}},
        {"type": "object", "dependentRequired": {"a": ["b"]}},
        {"type": "string", "format": "nonsense"},
        {"type": "string", "format": "uri", "pattern": "^h", "allOf": 5},
        {"type": "array", "uniqueItems": 0},
    ],
)
def test_what_asks_for_something_is_kept_or_refused(schema: dict[str, Any]) -> None:
    assert plain(schema) == schema
    with pytest.raises(InvalidRequest):
        check_schema(json.dumps(schema), "f")


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"const": None},
        {"properties": {"required": {"default": None}, "format": {"enum": [None, {"format": "uri"}]}}},
    ],
)
def test_what_means_something_stays(schema: dict[str, Any]) -> None:
    assert plain(schema) == schema


@pytest.mark.parametrize("more", [{}, {"pattern": "^h"}, {"maxLength": 40}])
def test_an_address_is_one_in_other_words(more: dict[str, Any]) -> None:
    schema = json.dumps({"type": "string", "format": "uri", **more})
    check_schema(schema, "f")
    assert keeps(schema, '"https://example.org/a?b=%20#c"')
    assert not keeps(schema, '"example"')
    assert not keeps(schema, '"https://a b"')
    assert keeps(schema, '"mailto:a@b"') == ("pattern" not in more)


def test_an_address_in_several_parts_leaves_the_objects_beside_it_closed() -> None:
    address = {"type": "string", "format": "uri", "pattern": "^h", "allOf": [{"minLength": 3}]}
    schema = json.dumps({"type": "object", "properties": {"u": address, "o": NAMED}, "required": ["u", "o"]})
    assert keeps(schema, '{"u": "https://a", "o": {"a": "b"}}')
    assert not keeps(schema, '{"u": "https://a", "o": {"a": "b", "c": 1}}')
    assert not keeps(schema, '{"u": "https", "o": {}}')


@pytest.mark.parametrize("more", [{}, {"pattern": "^2"}, {"maxLength": 40}])
@pytest.mark.parametrize(("kind", "before"), [("date-time", "2054-03-09T"), ("time", "")])
def test_a_minute_has_sixty_seconds(kind: str, before: str, more: dict[str, Any]) -> None:
    schema = json.dumps({"type": "string", "format": kind, **more})
    check_schema(schema, "f")
    assert keeps(schema, f'"{before}23:13:59-01:52"')
    assert keeps(schema, f'"{before}23:13:00.5Z"')
    assert not keeps(schema, f'"{before}23:13:60-01:52"')
    assert not keeps(schema, f'"{before}23:61:00Z"')
