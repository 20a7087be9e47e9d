"""Keeps llama.cpp's own grammars (GBNF) within what it can hold: it reads them while all answers of a model wait.

It unrolls what repeats, and of what may be empty as well it follows all ways at once. Here only that is read; whether
the rest is a grammar the library says itself.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_MOST_SIZE = 20_000
_MOST_DEPTH = 100
_MOST_RULES = 1_000
# 100 that may each be left out take 0.2 s, 200 of them half a second, and of two kinds hours.
_MOST_EMPTY = 100
_TOKEN = re.compile(
    r"""(?P<word>(?P<name>[A-Za-z][A-Za-z0-9_-]*)(?P<begins>\s*::=)?
        |"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|<[^>]*>|\.)
    |(?P<repeat>\{\s*\d+\s*(?:,\s*\d*\s*)?\}|[*+?])
    |(?P<mark>[()|])
    |(?:\s+|\#[^\n]*|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class _Part:
    """A word, a rule by its name, or a group of ways, with how often it comes."""

    name: str = ""
    ways: "list[_Way] | None" = None
    is_empty: bool = False
    least: int = 1
    most: int | None = 1


_Way = list[_Part]
_Rules = dict[str, list[_Way]]


def check_grammar(grammar: str) -> None:
    """Raise ValueError that says what of it cannot be kept."""
    rules = _read(grammar)
    empty = _empty_rules(rules)
    sizes = _empty_sizes(rules, empty)
    size = 0
    for way in _all_ways(rules):
        for part in way:
            if part.most is not None and part.most < part.least:
                raise ValueError(f"{{{part.least},{part.most}}} asks for more than it allows")
            size += part.most * _size(part) if part.most not in (None, 1) else 0
        if _empty_size(way, empty, sizes) > _MOST_EMPTY:
            raise ValueError(f"more than {_MOST_EMPTY} parts in a row may be left out")
    if size > _MOST_SIZE:
        raise ValueError("it repeats too often")


def _read(grammar: str) -> _Rules:
    rules: _Rules = {}
    # The ways of the rule, and of the groups in it that are open.
    open_ways: list[list[_Way]] = [[[]]]
    for token in _TOKEN.finditer(grammar):
        way = open_ways[-1][-1]
        if token["begins"]:
            open_ways = [rules.setdefault(token["name"], [[]])]
        elif token["word"]:
            way.append(_Part(name=token["name"] or "", is_empty=token["word"] == '""'))
        elif token["repeat"] and way:
            way[-1].least, way[-1].most = _times(token["repeat"])
        elif token["mark"]:
            _mark(token["mark"], open_ways)
    if len(rules) > _MOST_RULES:
        raise ValueError(f"it can have {_MOST_RULES:,} rules")
    return rules


def _mark(mark: str, open_ways: list[list[_Way]]) -> None:
    if mark == "|":
        open_ways[-1].append([])
    elif mark == "(":
        ways: list[_Way] = [[]]
        open_ways[-1][-1].append(_Part(ways=ways))
        open_ways.append(ways)
    elif len(open_ways) > 1:
        open_ways.pop()
    if len(open_ways) > _MOST_DEPTH:
        raise ValueError(f"groups can be {_MOST_DEPTH} deep")


def _times(repeat: str) -> tuple[int, int | None]:
    if repeat in "*+?":
        return (1 if repeat == "+" else 0), (1 if repeat == "?" else None)
    least, comma, most = repeat.strip("{}").partition(",")
    return int(least), int(most) if most.strip() else None if comma else int(least)


def _empty_rules(rules: _Rules) -> set[str]:
    """Those that may be empty; found again and again until none is new."""
    empty: set[str] = set()
    while found := {
        name
        for name, ways in rules.items()
        if name not in empty and any(all(_may_be_left_out(part, empty) for part in way) for way in ways)
    }:
        empty |= found
    return empty


def _may_be_left_out(part: _Part, empty: set[str]) -> bool:
    return part.least == 0 or _may_be_empty(part, empty)


def _may_be_empty(part: _Part, empty: set[str]) -> bool:
    """Whether one of it may be."""
    if part.ways is not None:
        return any(all(_may_be_left_out(each, empty) for each in way) for way in part.ways)
    return part.is_empty or part.name in empty


def _empty_sizes(rules: _Rules, empty: set[str]) -> dict[str, int]:
    """How many parts in a row may be left out of each rule that may be empty, as far as that matters."""
    sizes = dict.fromkeys(empty, 1)
    for _ in range(_MOST_EMPTY):  # one that holds itself grows with each
        found = {name: _ways_size(rules[name], empty, sizes) for name in sizes}
        grown = {name: min(size, _MOST_EMPTY + 1) for name, size in found.items()}
        if grown == sizes:
            break
        sizes = grown
    return sizes


def _empty_size(way: _Way, empty: set[str], sizes: Mapping[str, int]) -> int:
    """How many parts in a row may be left out of it, each as often as it comes."""
    most = in_a_row = 0
    for part in way:
        in_a_row = in_a_row + _left_out(part, empty, sizes) if _may_be_left_out(part, empty) else 0
        most = max(most, in_a_row)
    return most


def _left_out(part: _Part, empty: set[str], sizes: Mapping[str, int]) -> int:
    """One that may be empty although it is there goes with all ways of the next one."""
    if not _may_be_empty(part, empty):
        return 1
    times = max(part.most or 1, 1)
    size = sizes.get(part.name, 1) if part.ways is None else _ways_size(part.ways, empty, sizes)
    return size if times == 1 else times * size**2


def _ways_size(ways: list[_Way], empty: set[str], sizes: Mapping[str, int]) -> int:
    """Of those that may be empty, all together."""
    return max(
        1,
        sum(
            _empty_size(way, empty, sizes)
            for way in ways
            if all(_may_be_left_out(part, empty) for part in way)
        ),
    )


def _size(part: _Part) -> int:
    """Of one of it, where what repeats within counts as often."""
    if part.ways is None:
        return 1
    return sum(_size(each) * max(each.most or each.least, 1) for way in part.ways for each in way)


def _all_ways(rules: _Rules) -> Iterator[_Way]:
    waiting = [way for ways in rules.values() for way in ways]
    while waiting:
        way = waiting.pop()
        yield way
        for part in way:
            waiting += part.ways or ()
