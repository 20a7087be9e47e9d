"""Where a JSON schema has other schemas in itself: none of it is looked for in data, whatever that looks like."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

_OF_ONE = (
    "items",
    "additionalItems",
    "additionalProperties",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
)
# `items` is one, or many as older drafts have it.
_OF_MANY = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
# Where OpenAPI has its definitions.
_COMPONENTS, _SCHEMAS = "components", "schemas"


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
    if isinstance(components := _components(made), Mapping):
        again = {name: rebuilt(each, change) for name, each in components.items()}
        made[_COMPONENTS] = {**made[_COMPONENTS], _SCHEMAS: again}
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
        if isinstance(components := _components(each), Mapping):
            waiting += components.values()


def _components(schema: Mapping[str, Any]) -> Any:
    components = schema.get(_COMPONENTS)
    return components.get(_SCHEMAS) if isinstance(components, Mapping) else None


def first_that_leads_out(schema: Mapping[str, Any], references: Iterable[str]) -> str | None:
    """One that does not lead to one of those schemas; an engine's library follows it wherever it leads."""
    known = list(within(schema))
    places = {id(each) for each in known}
    roots = [schema, *(each for each in known if "$id" in each)]
    names = {str(each.get("$id")).partition("#")[0] for each in known if "$id" in each}
    anchors = {each.get(key) for each in known for key in ("$anchor", "$dynamicAnchor")}

    def leads_within(reference: str) -> bool:
        base, _, fragment = reference.partition("#")
        if base and not any(name.endswith(base) for name in names):
            return False
        if fragment and not fragment.startswith("/"):
            return fragment in anchors
        found = [place for root in roots if (place := _pointed_at(root, fragment)) is not None]
        return bool(found) and all(isinstance(place, bool) or id(place) in places for place in found)

    return next((each for each in references if not leads_within(each)), None)


def _pointed_at(place: Any, pointer: str) -> Any:
    """What a JSON pointer leads to; None where there is nothing."""
    for step in unquote(pointer).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping):
            place = place.get(name)
        elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            place = place[int(name)]
        else:
            return None
    return place
