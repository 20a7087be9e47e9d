"""How much a regular expression asks for, read once from its beginning to its end."""

import re

_REPEAT = re.compile(r"\{(\d{1,20})(?:,(\d{0,20}))?\}")
# What is not closed reaches to the end.
_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*+(?:\]|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:[pPux]\{[^}]{0,40}\}|.|\Z)", re.DOTALL)
# Whoever may write white space where it means nothing can hide how often something repeats.
_FREE = re.compile(r"\(\?[a-zA-Z]*x")


def pattern_size(pattern: str) -> float:
    """How many characters it asks for, roughly: what repeats counts as often as it may at most."""
    if _FREE.search(pattern):
        return float("inf")
    # For each group that is open: what came before its last part, and that part.
    sizes, place = [[0, 0]], 0
    while place < len(pattern):
        found = next(
            (part for kind in (_ESCAPE, _CLASS, _REPEAT) if (part := kind.match(pattern, place))), None
        )
        match pattern[place]:
            case "(":
                sizes.append([0, 0])
            case ")" if len(sizes) > 1:
                inner = sum(sizes.pop())
                sizes[-1] = [sum(sizes[-1]), inner]
            case "{" if found:
                sizes[-1][1] *= max(int(count or 0) for count in found.groups())
            case "*" | "+" | "?" | "|":
                pass
            case _:
                sizes[-1] = [sum(sizes[-1]), 1]
        place += len(found[0]) if found else 1
    return sum(map(sum, sizes))
