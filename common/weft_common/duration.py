"""Durations as people write them in settings: `10`, `500ms`, `90s`, `1m30s`, `2h`."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")


def parse_duration(value: object) -> object:
    """Read a number of seconds, with or without units; anything else is left to pydantic (ISO 8601, say)."""
    if not isinstance(value, str):
        return value
    seconds = seconds_of(value)
    if seconds is None:
        return value
    try:
        return timedelta(seconds=seconds)
    except OverflowError:  # millions of years
        return value


def seconds_of(text: str) -> float | None:
    """Read a number with or without units as seconds, which may be infinite; None where it is no such text."""
    text = text.strip().lower()
    if not text or _PIECE.sub("", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(text))


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
