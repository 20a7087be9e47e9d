"""Closes the objects of a schema that leaves open what else they may have: a model would invent properties.

So do llama.cpp's own converter and those of others; whoever wants more says `additionalProperties: true`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_OF_ONE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")
_OF_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
# Beside one of these an object's properties are not all that it may have.
_SAYS_MORE = (
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "propertyNames",
    "dependentSchemas",
    "anyOf",
    "oneOf",
    "allOf",
    "if",
    "not",
    "$ref",
)


def closed(schema: Any) -> Any:
    """The same schema, but that objects have the properties that are named and no others.

    Where parts of one object are told in several places, all of it stays as it is: nobody knows what belongs together.
    """
    return schema if any(map(_is_put_together, _within(schema))) else _closed(schema)


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for key in _OF_ONE:
        if key in made:
            made[key] = _closed(made[key])
    for key in _OF_MANY:
        if isinstance(made.get(key), Sequence) and not isinstance(made[key], str):
            made[key] = [_closed(each) for each in made[key]]
    for key in _BY_NAME:
        if isinstance(made.get(key), Mapping):
            made[key] = {name: _closed(each) for name, each in made[key].items()}
    if isinstance(made.get("properties"), Mapping) and not any(key in made for key in _SAYS_MORE):
        made["additionalProperties"] = False
    return made


def _within(schema: Any) -> Iterator[Mapping[str, Any]]:
    """All schemas in a schema, itself first."""
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, Mapping):
            continue
        yield each
        waiting += (each[key] for key in _OF_ONE if key in each)
        for key in _OF_MANY:
            if isinstance(each.get(key), Sequence) and not isinstance(each[key], str):
                waiting += each[key]
        for key in _BY_NAME:
            if isinstance(each.get(key), Mapping):
                waiting += each[key].values()


def _is_put_together(schema: Mapping[str, Any]) -> bool:
    """Whether an object is told here and elsewhere, too."""
    parts = schema.get("allOf")
    if isinstance(parts, Sequence) and (len(parts) > 1 or "properties" in schema):
        return True
    return "properties" in schema and any(key in schema for key in ("$ref", "anyOf", "oneOf", "if"))
