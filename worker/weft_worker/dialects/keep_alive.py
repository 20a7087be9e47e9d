"""How long a request wishes its model to stay loaded once nobody uses it, in the forms that Ollama takes."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from weft_common.duration import seconds_of

FOR_EVER = -1.0
# Who writes more than a year means for ever, as clients do that have a number only.
_LONGEST_SECONDS = 366 * 86400


def stay_seconds(said: float) -> float:
    """Seconds, or FOR_EVER for what is below 0 or above a year."""
    return float(said) if 0 <= said <= _LONGEST_SECONDS else FOR_EVER


def _seconds(value: object) -> object:
    """Read a number of seconds, `5m`, or anything below 0, which is for ever."""
    if value is None:
        return None
    if isinstance(value, str):
        sign, text = (-1, value.strip()[1:]) if value.strip().startswith("-") else (1, value)
        read = seconds_of(text)
        value = None if read is None else sign * read
    # What is no number, NaN, is unlike itself.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise PydanticCustomError(
            "keep_alive", "Should be a number of seconds or a duration such as '5m'; -1 is for ever"
        )
    return stay_seconds(value)


KeepAlive = Annotated[float | None, BeforeValidator(_seconds)]
"""Seconds, or FOR_EVER."""
