"""Keeps a schema within what its library can hold: its numbers, how often something repeats, and how much there is.

Beyond that the library calls itself until its stack ends, fills the memory, loses digits, or computes for seconds while
all answers of the model wait. What lies there is tightened where an answer still keeps the schema that was asked for,
and refused by name where it would not.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from weft_worker.engines.schema_parts import rebuilt, within

# The library reckons in halves of 64 bits at most, and writes what lies beyond 53 bits as the nearest double.
_MOST_NUMBER = 2**62
_EXACT_NUMBER = 2**53
# An answer of more would fill any context; the library takes 10 µs for each.
_MOST_COUNT = 10_000
_MOST_COUNTS = 50_000
_MOST_LENGTH = 1_000_000
_MOST_REFERENCES = 500
# The library's time grows with their square: 0.2 s for 700, 3 s for 1,200.
_MOST_OPTIONAL = 800
_MOST_PATTERN_SIZE = 50_000

_COUNTS = (("minItems", "maxItems"), ("minProperties", "maxProperties"))
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:[pPux]\{[^}]*\}|.)", re.DOTALL)


def bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Such a schema; raises ValueError that names the keyword which cannot be kept."""
    made: dict[str, Any] = rebuilt(schema, _bound)
    references, counts = set(), 0
    for each in within(made):
        if isinstance(each.get("$ref"), str):
            references.add(each["$ref"])
        counts += sum(_count(each, key) for pair in _COUNTS for key in pair)
    if len(references) > _MOST_REFERENCES:
        raise ValueError(f"$ref: at most {_MOST_REFERENCES} definitions can be referred to")
    if counts > _MOST_COUNTS:
        raise ValueError(f"minItems, maxItems: at most {_MOST_COUNTS:,} of all arrays together can be kept")
    return made


def _bound(schema: dict[str, Any]) -> None:
    for key in ("minimum", "exclusiveMinimum"):
        if _is_number(schema.get(key)):
            schema[key] = _no_less(key, schema[key])
    for key in ("maximum", "exclusiveMaximum"):
        if _is_number(schema.get(key)):
            schema[key] = -_no_less(key, -schema[key], sign=-1)
    for least, most in _COUNTS:
        _bound_count(schema, least, most, _MOST_COUNT)
    _bound_count(schema, "minLength", "maxLength", _MOST_LENGTH)
    for key in ("const", "enum"):
        for number in _numbers(schema.get(key)):
            _require_exact(key, number)
    _check_properties(schema)
    for pattern in (schema.get("pattern"), *_patterns_of_names(schema)):
        if isinstance(pattern, str) and pattern_size(pattern) > _MOST_PATTERN_SIZE:
            raise ValueError("pattern: it repeats too often")


def _no_less(key: str, value: float, sign: int = 1) -> float:
    """The least number that the library can tell, of those that are no less."""
    if value > _MOST_NUMBER:
        raise ValueError(f"{key}: {sign * value} is beyond the numbers that can be kept, which end at 2^62")
    if value < -_MOST_NUMBER:
        return -_MOST_NUMBER
    if isinstance(value, float) or abs(value) <= _EXACT_NUMBER:
        return value
    nearest = float(value)
    return int(nearest if nearest >= value else math.nextafter(nearest, math.inf))


def _bound_count(schema: dict[str, Any], least: str, most: str, limit: int) -> None:
    if _is_number(schema.get(least)) and schema[least] > limit:
        raise ValueError(f"{least}: at most {limit:,} can be asked for")
    if _is_number(schema.get(most)):
        schema[most] = min(schema[most], limit)


def _require_exact(key: str, number: float) -> None:
    if isinstance(number, int) and (abs(number) > _MOST_NUMBER or int(float(number)) != number):
        raise ValueError(f"{key}: {number} has more digits than can be kept, use a string")


def _check_properties(schema: Mapping[str, Any]) -> None:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping):
        return
    needed = set(map(str, required)) if isinstance(required, list) else set()
    if len(properties.keys() - needed) > _MOST_OPTIONAL:
        raise ValueError(f"properties: at most {_MOST_OPTIONAL} of an object may be left out of `required`")


def _patterns_of_names(schema: Mapping[str, Any]) -> Iterator[str]:
    named = schema.get("patternProperties")
    if isinstance(named, Mapping):
        yield from named


def pattern_size(pattern: str) -> int:
    """How many characters it asks for, roughly: what repeats counts as often as it may at most."""
    # For each group that is open: what came before its last part, and that part.
    sizes, place = [[0, 0]], 0
    while place < len(pattern):
        found = _part(pattern, place)
        match pattern[place]:
            case "(":
                sizes.append([0, 0])
            case ")" if len(sizes) > 1:
                inner = sum(sizes.pop())
                sizes[-1] = [sum(sizes[-1]), inner]
            case "{" if repeat := _REPEAT.match(pattern, place):
                sizes[-1][1] *= max(int(count) for count in repeat.groups(default="0") if count)
            case "*" | "+" | "?" | "|":
                pass
            case _:
                sizes[-1] = [sum(sizes[-1]), 1]
        place += found
    return sum(map(sum, sizes))


def _part(pattern: str, place: int) -> int:
    """How long the part of a pattern is that begins there."""
    for kind in (_ESCAPE, _CLASS, _REPEAT):
        if found := kind.match(pattern, place):
            return len(found[0])
    return 1


def _numbers(value: object) -> Iterator[float]:
    """All numbers in some data."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield each


def _count(schema: Mapping[str, Any], key: str) -> int:
    value = schema.get(key)
    return int(value) if isinstance(value, int | float) and _is_number(value) else 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
