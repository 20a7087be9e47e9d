from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from weft_common.duration import Duration, seconds_of

DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("0.5", 0.5), ("500ms", 0.5), ("90s", 90), ("1m30s", 90), ("2H", 7200), ("PT1M", 60)],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert DURATION.validate_python(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "10 apples", "-", "300" * 30, "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        DURATION.validate_python(text)


def test_a_timedelta_stays_what_it_is() -> None:
    assert DURATION.validate_python(timedelta(seconds=3)) == timedelta(seconds=3)


def test_seconds_have_no_bound_and_no_other_form() -> None:
    assert (seconds_of("1h30m"), seconds_of("9" * 400)) == (5400, float("inf"))
    assert [seconds_of(text) for text in ("", "soon", "PT1M", "-5")] == [None] * 4
