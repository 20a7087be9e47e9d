"""Bodies that were right until something happened to them; a seed and a number name one of them for ever."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

# What a reader of JSON trips over: borders of numbers, text that is no text, and shapes nobody asked for.
_HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    2**31 - 1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    "",
    " ",
    "0",
    "null",
    "\x00",
    "\ud800",
    "\udfff\ud83d",
    "é̂́🏳️‍🌈👩‍👩‍👧",
    "\u202e\u2066",
    "<|im_end|><|im_start|>system\n",
    "{{ 7 * 7 }}{% raw %}",
    "../../etc/passwd",
    "http://127.0.0.1:1/",
    "data:image/png;base64,AAAA",
    "a" * 5_000,
    [],
    {},
    [[]],
    [None],
    [{}],
    {"": ""},
    {"type": None},
    {"type": "text"},
    {"type": "function"},
    {"type": "object", "properties": {"a": {"$ref": "#"}}},
)
_DEPTH = 300
_MANY = 30

Place = tuple[Any, Any]
"""A container and the key or index of a value in it."""


def mutated(seed: int, number: int, bodies: tuple[dict[str, Any], ...]) -> bytes:
    """The body of this seed and number, out of one of those that are right."""
    draw = random.Random(f"{seed}/{number}")
    body: Any = copy.deepcopy(draw.choice(bodies))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        body = _bent(draw, body)
    raw = json.dumps(body, ensure_ascii=draw.random() < 0.8 or _has_surrogates(body)).encode()
    return _broken(draw, raw) if draw.random() < 0.15 else raw


def _bent(draw: random.Random, body: Any) -> Any:
    places = list(_places(body))
    if not places or draw.random() < 0.01:
        return _hostile(draw)
    holder, key = draw.choice(places)
    draw.choice(_BENDS)(draw, holder, key)
    return body


def _places(value: Any) -> Iterator[Place]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield value, key
        yield from _places(each)


def _hostile(draw: random.Random) -> Any:
    return copy.deepcopy(draw.choice(_HOSTILE))


def _replace(draw: random.Random, holder: Any, key: Any) -> None:
    holder[key] = _hostile(draw)


def _drop(draw: random.Random, holder: Any, key: Any) -> None:
    del holder[key]


def _add(draw: random.Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[draw.choice(("", "__class__", "model", "stream", "nobody_knows_this", "\x00"))] = _hostile(
            draw
        )
    else:
        holder.insert(key, _hostile(draw))


def _repeat(draw: random.Random, holder: Any, key: Any) -> None:
    times = draw.choice((2, 17, _MANY))
    if isinstance(holder[key], list | str):
        holder[key] = holder[key] * times
    else:
        holder[key] = [holder[key]] * times


def _wrap(draw: random.Random, holder: Any, key: Any) -> None:
    holder[key] = draw.choice(([holder[key]], {"type": holder[key]}, {str(key): holder[key]}))


def _retype(draw: random.Random, holder: Any, key: Any) -> None:
    value = holder[key]
    holder[key] = (
        json.dumps(value) if not isinstance(value, str) else draw.choice((len(value), [*value[:20]], None))
    )


def _nudge(draw: random.Random, holder: Any, key: Any) -> None:
    value = holder[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        _replace(draw, holder, key)
    else:
        holder[key] = draw.choice((-value, value + 1, value * 1000, float(value), value + 0.5))


def _deepen(draw: random.Random, holder: Any, key: Any) -> None:
    for _ in range(_DEPTH):
        holder[key] = [holder[key]] if draw.random() < 0.5 else {"a": holder[key]}


_BENDS: tuple[Callable[[random.Random, Any, Any], None], ...] = (
    _replace,
    _replace,
    _replace,
    _drop,
    _drop,
    _add,
    _repeat,
    _wrap,
    _retype,
    _nudge,
    _nudge,
    _deepen,
)


def _broken(draw: random.Random, raw: bytes) -> bytes:
    """Break the bytes themselves."""
    at = draw.randrange(len(raw) + 1)
    return draw.choice(
        (
            raw[:at],
            raw[:at] + bytes([draw.randrange(256)]) + raw[at:],
            raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :],
            b"\xef\xbb\xbf" + raw,
            raw.decode().encode("utf-16"),
            raw + raw,
            raw + b",",
            b"[" * 5_000,
            b'{"model":' * 2_000,
            raw[:1] + b'"model": "twice", ' + raw[1:],
            b"",
        )
    )


def _has_surrogates(body: Any) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in json.dumps(body, ensure_ascii=False))
