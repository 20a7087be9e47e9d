"""Where a JSON schema has other schemas in itself: none of it is looked for in data, whatever that looks like."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_OF_ONE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")
_OF_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def rebuilt(schema: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    """A copy whose schemas were all changed, those within before what they are in."""
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for key in _OF_ONE:
        if key in made:
            made[key] = rebuilt(made[key], change)
    for key in _OF_MANY:
        if isinstance(made.get(key), Sequence) and not isinstance(made[key], str):
            made[key] = [rebuilt(each, change) for each in made[key]]
    for key in _BY_NAME:
        if isinstance(made.get(key), Mapping):
            made[key] = {name: rebuilt(each, change) for name, each in made[key].items()}
    change(made)
    return made


def within(schema: Any) -> Iterator[Mapping[str, Any]]:
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
