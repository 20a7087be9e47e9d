"""Demand ahead: expected by what was asked for at the same time of earlier days, and said why."""

import pytest

from weft_router.fleet.demand import Asked, Slot, likely, slot_at, slots_ahead, slots_that_tell

TODAY = 20_000
EIGHT = 32


def asked(*days_ago: int, index: int = EIGHT, model: str = "m") -> list[Asked]:
    return [Asked(model, Slot(TODAY - back, index)) for back in days_ago]


@pytest.mark.parametrize(
    ("days_ago", "why"),
    [
        ((), ""),
        ((1,), ""),
        ((1, 4), ""),
        ((0,), ""),
        ((1, 2), "on 2 of the last 3 days"),
        ((1, 3), "on 2 of the last 3 days"),
        ((1, 2, 3), "on 3 of the last 3 days"),
        ((7,), ""),
        ((3, 7), ""),
        ((7, 14), "on this day of 2 of the last 3 weeks"),
        ((7, 21), "on this day of 2 of the last 3 weeks"),
    ],
)
def test_two_days_of_the_last_three_or_two_weeks_of_the_last_three_tell(
    days_ago: tuple[int, ...], why: str
) -> None:
    found = likely(asked(*days_ago), [Slot(TODAY, EIGHT)])
    said = f"it is likely to be asked for about 08:00 UTC: it was {why}"
    assert found == ({"m": said} if why else {})


def test_each_model_and_each_slot_counts_for_itself() -> None:
    history = [*asked(1, 2), *asked(1, index=EIGHT + 1), *asked(2, index=EIGHT + 1), *asked(1, model="n")]
    assert likely(history, [Slot(TODAY, EIGHT)]).keys() == {"m"}
    assert likely(history, [Slot(TODAY, EIGHT + 2)]) == {}


def test_a_slot_is_looked_at_five_minutes_before_it_begins() -> None:
    eight = TODAY * 86400.0 + EIGHT * 900
    assert slot_at(eight) == Slot(TODAY, EIGHT)
    assert slots_ahead(eight - 301) == (Slot(TODAY, EIGHT - 1),)
    assert slots_ahead(eight - 300) == (Slot(TODAY, EIGHT - 1), Slot(TODAY, EIGHT))
    assert slots_ahead(eight) == (Slot(TODAY, EIGHT),)
    assert slots_ahead((TODAY + 1) * 86400.0 - 60) == (Slot(TODAY, 95), Slot(TODAY + 1, 0))


def test_what_tells_is_read_and_nothing_else() -> None:
    days = [TODAY - s.day for s in slots_that_tell(Slot(TODAY, EIGHT))]
    assert sorted(days) == [1, 2, 3, 7, 14, 21]
