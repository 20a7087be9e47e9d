"""Keeps llama.cpp's own grammars (GBNF) within what it can hold: it reads them while all answers of a model wait.

It unrolls what repeats, and follows all ways at once by which a text may begin, or go on where something is left out.
Here only that is read; whether the rest is a grammar the library says itself.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

_MOST_LENGTH = 1 << 18
_MOST_DEPTH = 100
_MOST_RULES = 10_000
# Characters, rules and groups, with what they repeat.
_MOST_SIZE = 100_000
# 100 in a row that may each be left out take 0.2 s, 200 of them half a second, and of two kinds hours.
_MOST_EMPTY = 100
_MOST_BEGINNINGS = 20_000
# What stands in no rule.
_NOWHERE = "::="
# Rules are read after those that they name, so that only rules that name each other need more than two.
_PASSES = 20
# What is not closed reaches to the end.
_TOKEN = re.compile(
    r"""(?P<word>(?P<name>[A-Za-z][A-Za-z0-9_-]*+)(?P<begins>\s{0,100}::=)?
        |"(?:[^"\\]|\\.)*+(?:"|\Z)|\[(?:[^\]\\]|\\.)*+(?:\]|\Z)|<[^>]*+(?:>|\Z)|\.)
    |(?P<repeat>\{\s{0,9}\d{1,20}\s{0,9}(?:,\s{0,9}\d{0,20}\s{0,9})?\}|[*+?])
    |(?P<mark>[()|])
    |\s++|\#[^\n]*+|.""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Part:
    """A word of so many characters, or a rule or group by its name; how often it has to come, and how often the library
    writes it down."""

    name: str = ""
    length: int = 1
    is_empty: bool = False
    least: int = 1
    times: int = 1


_Way = list[_Part]
# By the names of rules; those of groups are numbers.
_Rules = dict[str, list[_Way]]


def check_grammar(grammar: str) -> None:
    """Raise ValueError that says what of it cannot be kept."""
    if len(grammar) > _MOST_LENGTH:
        raise ValueError(f"it may have at most {_MOST_LENGTH:,} characters")
    reader = _Reader()
    for token in _TOKEN.finditer(grammar):
        reader.read(token)
    known = _Known(reader.rules)
    parts = [part for ways in reader.rules.values() for way in ways for part in way]
    if sum(known.size(part) for part in parts if part.times > 1) > _MOST_SIZE:
        raise ValueError("it repeats too often")
    if known.most_in_a_row() > _MOST_EMPTY:
        raise ValueError(f"at most {_MOST_EMPTY} parts in a row may be left out")
    if known.most_beginnings() > _MOST_BEGINNINGS:
        raise ValueError(f"a text may begin in at most {_MOST_BEGINNINGS:,} ways")


class _Reader:
    """State: the rules and groups so far, and the names of the one that is read and of those that it lies in."""

    def __init__(self) -> None:
        self.rules: _Rules = {_NOWHERE: [[]]}
        self._open = [_NOWHERE]
        self._group_count = 0

    def read(self, token: re.Match[str]) -> None:
        """Take what comes next; raises ValueError where it is too much."""
        way = self.rules[self._open[-1]][-1]
        if token["begins"]:
            self._open = [token["name"]]
            self.rules.setdefault(token["name"], []).append([])
        elif token["word"]:
            length = 1 if token["name"] else len(token["word"])
            way.append(_Part(token["name"] or "", length, is_empty=token["word"] == '""'))
        elif token["repeat"] and way:
            way[-1] = _repeated(way[-1], token["repeat"])
        elif token["mark"]:
            self._mark(token["mark"], way)
        if len(self.rules) > _MOST_RULES:
            raise ValueError(f"it may have at most {_MOST_RULES:,} rules and groups")

    def _mark(self, mark: str, way: _Way) -> None:
        if mark == "|":
            self.rules[self._open[-1]].append([])
        elif mark == "(":
            self._group_count += 1
            name = str(self._group_count)
            way.append(_Part(name))
            self.rules[name] = [[]]
            self._open.append(name)
        elif len(self._open) > 1:
            self._open.pop()
        if len(self._open) > _MOST_DEPTH + 1:
            raise ValueError(f"groups can be at most {_MOST_DEPTH} deep")


def _repeated(part: _Part, repeat: str) -> _Part:
    """The same with one repeat more: those that follow each other multiply."""
    if repeat in "*+?":
        return part if repeat == "+" else replace(part, least=0)
    least, comma, most = repeat.strip("{}").partition(",")
    fewest = int(least)
    if most.strip() and int(most) < fewest:
        raise ValueError(f"{{{fewest},{int(most)}}} asks for more than it allows")
    times = max(1, fewest, int(most.strip() or 0) if comma else 1)
    return replace(part, least=part.least * fewest, times=part.times * times)


class _Known:
    """What there is to know of some rules, by their names: which may be empty, and numbers that end where they are
    too large."""

    def __init__(self, rules: _Rules) -> None:
        self._rules = rules
        self._order = _named_first(rules)
        self._empty: set[str] = set()
        for _ in range(_PASSES):
            found = {name for name in self._order if any(map(self._may_all_be_left_out, rules[name]))}
            if found == self._empty:
                break
            self._empty = found
        self._sizes = self._settled(_ways_size, _MOST_SIZE)
        self._rows = self._settled(self._ways_in_a_row, _MOST_EMPTY)
        self._beginnings = self._settled(self._ways_beginnings, _MOST_BEGINNINGS)

    def size(self, part: _Part) -> int:
        """What the library writes down for it; of a rule only its name."""
        return _size(part, self._sizes)

    def most_in_a_row(self) -> int:
        """How many parts in a row may be left out, each as often as it comes."""
        return max(self._in_a_row(way, self._rows) for ways in self._rules.values() for way in ways)

    def most_beginnings(self) -> int:
        """In how many ways some rule may begin."""
        return max(self._beginnings.values())

    def _settled(self, value: Callable[[list[_Way], Mapping[str, int]], int], most: int) -> dict[str, int]:
        """A number for each rule that depends on those of the rules that it names."""
        numbers = dict.fromkeys(self._order, 1)
        for _ in range(_PASSES):
            before = dict(numbers)
            for name in self._order:
                numbers[name] = min(max(1, value(self._rules[name], numbers)), most + 1)
            if numbers == before:
                break
        return numbers

    def _ways_in_a_row(self, ways: list[_Way], rows: Mapping[str, int]) -> int:
        """Of those that may be empty, all together."""
        return sum(self._in_a_row(way, rows) for way in ways if self._may_all_be_left_out(way))

    def _in_a_row(self, way: _Way, rows: Mapping[str, int]) -> int:
        most = in_a_row = 0
        for part in way:
            in_a_row = in_a_row + self._left_out(part, rows) if self._may_be_left_out(part) else 0
            most = max(most, in_a_row)
        return most

    def _left_out(self, part: _Part, rows: Mapping[str, int]) -> int:
        """One that may be empty although it is there goes with all ways of the next one."""
        if not self._may_be_empty(part):
            return 1
        row = rows.get(part.name, 1)
        return row if part.times == 1 else part.times * row**2

    def _ways_beginnings(self, ways: list[_Way], beginnings: Mapping[str, int]) -> int:
        """As many as of all parts up to the first that has to be there."""
        count = 0
        for way in ways:
            for part in way:
                count += beginnings.get(part.name, 1)
                if not self._may_be_left_out(part):
                    break
        return count

    def _may_all_be_left_out(self, way: _Way) -> bool:
        return all(map(self._may_be_left_out, way))

    def _may_be_left_out(self, part: _Part) -> bool:
        return part.least == 0 or self._may_be_empty(part)

    def _may_be_empty(self, part: _Part) -> bool:
        """Whether one of it may be."""
        return part.is_empty or part.name in self._empty


def _ways_size(ways: list[_Way], sizes: Mapping[str, int]) -> int:
    return sum(_size(part, sizes) for way in ways for part in way)


def _size(part: _Part, sizes: Mapping[str, int]) -> int:
    return part.times * (sizes.get(part.name, 1) if part.name.isdecimal() else part.length)


def _named_first(rules: _Rules) -> list[str]:
    """All names, those that a rule names before its own as far as that can be."""
    order: dict[str, None] = {}
    seen: set[str] = set()
    for first in rules:
        waiting = [(first, False)]
        while waiting:
            name, is_done = waiting.pop()
            if is_done:
                order[name] = None
            elif name not in seen:
                seen.add(name)
                waiting.append((name, True))
                named = (part.name for way in rules[name] for part in way)
                waiting += ((each, False) for each in named if each in rules and each not in seen)
    return list(order)
