"""Means that forget, and how many requests to hand out ahead."""

import pytest

from weft_router.slots.core.pace import Mean, ahead_count


def test_a_mean_follows_what_is_measured() -> None:
    mean = Mean()
    assert mean.value is None
    mean.add(0, 0)
    assert mean.value is None
    mean.add(10, 2)
    assert mean.value == 5
    mean.add(100 * 15, 100)
    assert mean.value == pytest.approx(15)


@pytest.mark.parametrize(
    ("slots", "seconds", "queue", "expected"),
    [
        (4, 0.2, 64, 1),
        (16, 0.1, 64, 8),
        (16, 0.1, 3, 3),
        (4, 0.001, 64, 4),
        (4, 0.2, 0, 0),
        (4, 60.0, 64, 0),
        (4, None, 64, 0),
    ],
)
def test_as_many_are_handed_out_ahead_as_end_within_the_turn_around(
    slots: int, seconds: float | None, queue: int, expected: int
) -> None:
    assert ahead_count(slots, seconds, queue) == expected
