"""How long a request wishes its model to stay loaded once nobody uses it, in the forms that Ollama takes."""

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from weft_common.duration import parse_duration

FOR_EVER = -1.0
MAX_SECONDS = 366 * 86400.0


def _seconds(value: object) -> object:
    """Read a number of seconds, `5m`, or anything below 0, which is for ever."""
    if value is None:
        return None
    if isinstance(value, str):
        sign, text = (-1, value.strip()[1:]) if value.strip().startswith("-") else (1, value)
        read = parse_duration(text)
        value = sign * read.total_seconds() if isinstance(read, timedelta) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= MAX_SECONDS:
        raise PydanticCustomError(
            "keep_alive",
            "Should be a number of seconds or a duration such as '5m', at most a year; -1 is for ever",
        )
    return FOR_EVER if value < 0 else float(value)


KeepAlive = Annotated[float | None, BeforeValidator(_seconds)]
"""Seconds, or FOR_EVER."""
