"""Keeps a schema within what its library can hold: its numbers, how often something repeats, and how much there is.

Beyond that the library calls itself until its stack ends, fills the memory, loses digits, or computes for seconds while
all answers of the model wait. What lies there is tightened where an answer still keeps the schema that was asked for,
and refused by name where it would not.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from weft_worker.engines.pattern_size import pattern_size
from weft_worker.engines.schema_parts import first_that_leads_out, rebuilt, within

# The library reckons in halves of 64 bits at most, and writes what lies beyond 53 bits as the nearest double.
_MOST_NUMBER = 2**62
_EXACT_NUMBER = 2**53
# It makes a state for each remainder, but for those by powers of two and five.
_MOST_REMAINDERS = 100_000
# An answer of more would fill any context; the library takes 10 µs for each.
_MOST_COUNT = 10_000
_MOST_COUNTS = 50_000
_MOST_LENGTH = 1_000_000
_MOST_REFERENCES = 500
# The library's time grows with their square: 0.2 s for 700, 3 s for 1,200.
_MOST_OPTIONAL = 800
_MOST_PATTERN_SIZE = 50_000
_MOST_PATTERN_SIZES = 100_000

_COUNTS = (("minItems", "maxItems"), ("minProperties", "maxProperties"))
_LENGTHS = ("minLength", "maxLength")
_Refuse = Callable[[dict[str, Any], str, str], None]


def bounded(schema: Mapping[str, Any], *, leaves_out: bool = False) -> dict[str, Any]:
    """Such a schema; raises ValueError that names the keyword which cannot be kept, or `leaves_out` that keyword."""
    made: dict[str, Any] = rebuilt(schema, partial(_bound, refuse=_leave_out if leaves_out else _raise))
    references = {each["$ref"] for each in within(made) if isinstance(each.get("$ref"), str)}
    if len(references) > _MOST_REFERENCES:
        raise ValueError(f"$ref: at most {_MOST_REFERENCES} definitions can be referred to")
    if (lost := first_that_leads_out(made, references)) is not None:
        raise ValueError(f"$ref: '{lost[:80]}' leads to no schema of this one")
    if sum(sum(map(_size, _patterns(each))) for each in within(made)) > _MOST_PATTERN_SIZES:
        raise ValueError("pattern: all of them together repeat too often")
    _share_counts(made)
    return made


def _raise(_: dict[str, Any], key: str, words: str) -> None:
    raise ValueError(f"{key}: {words}")


def _leave_out(schema: dict[str, Any], key: str, _: str) -> None:
    schema.pop(key, None)


def _bound(schema: dict[str, Any], refuse: _Refuse) -> None:
    for key, words in list(_troubles(schema)):
        refuse(schema, key, words)
    for key in ("minimum", "exclusiveMinimum"):
        if _is_number(schema.get(key)):
            schema[key] = _no_less(schema[key])
    for key in ("maximum", "exclusiveMaximum"):
        if _is_number(schema.get(key)):
            schema[key] = -_no_less(-schema[key])
    for (_, most), limit in (*((pair, _MOST_COUNT) for pair in _COUNTS), (_LENGTHS, _MOST_LENGTH)):
        if _is_number(schema.get(most)):
            schema[most] = min(schema[most], limit)


def _troubles(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What cannot be kept and cannot be tightened, keyword by keyword."""
    yield from _troubles_of_numbers(schema)
    for (least, _), limit in (*((pair, _MOST_COUNT) for pair in _COUNTS), (_LENGTHS, _MOST_LENGTH)):
        if _is_number(schema.get(least)) and schema[least] > limit:
            yield least, f"at most {limit:,} can be asked for"
    if _optional_count(schema) > _MOST_OPTIONAL:
        yield "properties", f"at most {_MOST_OPTIONAL} of an object may be left out of `required`"
    for key in ("pattern", "patternProperties"):
        if any(_size(pattern) > _MOST_PATTERN_SIZE for pattern in _patterns({key: schema.get(key)})):
            yield key, "it repeats too often"


def _troubles_of_numbers(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, sign in (("minimum", 1), ("exclusiveMinimum", 1), ("maximum", -1), ("exclusiveMaximum", -1)):
        if _is_number(schema.get(key)) and sign * schema[key] > _MOST_NUMBER:
            yield key, f"{schema[key]} is beyond the numbers that can be kept, which end at 2^62"
    if _is_number(schema.get("multipleOf")) and _remainders(schema["multipleOf"]) > _MOST_REMAINDERS:
        yield "multipleOf", f"{schema['multipleOf']} has too many remainders"
    for key in ("const", "enum"):
        number = next((each for each in _numbers(schema.get(key)) if not _is_exact(each)), None)
        if number is not None:
            yield key, f"{number} has more digits than can be kept, use a string"


def _no_less(value: float) -> float:
    """The least number that the library can tell, of those that are no less."""
    if value < -_MOST_NUMBER:
        return -_MOST_NUMBER
    if isinstance(value, float) or abs(value) <= _EXACT_NUMBER:
        return value
    nearest = float(value)
    return int(nearest if nearest >= value else math.nextafter(nearest, math.inf))


def _remainders(value: float) -> int:
    digits = abs(int("".join(map(str, Decimal(str(value)).as_tuple().digits))))
    for factor in (2, 5):
        while digits and digits % factor == 0:
            digits //= factor
    return digits


def _is_exact(number: float) -> bool:
    return isinstance(number, float) or (abs(number) <= _MOST_NUMBER and int(float(number)) == number)


def _share_counts(made: Mapping[str, Any]) -> None:
    """Let all arrays together have no more than the library can hold; raises ValueError where they must."""
    parts = [(each, least, most) for each in within(made) for least, most in _COUNTS]
    least_count = sum(_count(each, least) for each, least, _ in parts)
    if least_count > _MOST_COUNTS:
        raise ValueError(f"minItems: at most {_MOST_COUNTS:,} of all arrays together can be asked for")
    bounds = [(each, least, most) for each, least, most in parts if _is_number(each.get(most))]
    if least_count + sum(_count(each, most) for each, _, most in bounds) <= _MOST_COUNTS:
        return
    share = _MOST_COUNTS // len(bounds)
    for each, least, most in bounds:
        assert isinstance(each, dict), "all were made anew"
        each[most] = min(each[most], max(share, _count(each, least)))


def _optional_count(schema: Mapping[str, Any]) -> int:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping):
        return 0
    return len(properties.keys() - (set(map(str, required)) if isinstance(required, list) else set()))


def _patterns(schema: Mapping[str, Any]) -> Iterator[object]:
    yield schema.get("pattern")
    named = schema.get("patternProperties")
    if isinstance(named, Mapping):
        yield from named


def _size(pattern: object) -> float:
    return pattern_size(pattern) if isinstance(pattern, str) else 0


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
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
