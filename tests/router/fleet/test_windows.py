"""Warm windows: when one is open, until when that is certain, and what is refused."""

from datetime import UTC, datetime
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft_router.fleet.windows import Floor, WarmWindow, floor_at, window_problems

HOUR = 3600.0
WORK = WarmWindow("0 8 * * 1-5", 10 * HOUR, 2, "Europe/Berlin")


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("moment", "least", "until"),
    [
        ("2026-11-20 07:59:59", 0, "2026-11-20 08:00"),
        ("2026-11-20 08:00", 2, "2026-11-20 18:00"),
        ("2026-11-20 17:59:59", 2, "2026-11-20 18:00"),
        ("2026-11-20 18:00", 0, "2026-11-23 08:00"),
        ("2026-11-21 12:00", 0, "2026-11-23 08:00"),
    ],
)
def test_a_window_is_open_from_its_begin_for_as_long_as_it_lasts(moment: str, least: int, until: str) -> None:
    assert floor_at([WORK], at(moment)) == Floor(least, at(until), WORK if least else None)


def test_the_window_that_asks_for_most_counts_and_the_next_change_of_any() -> None:
    lunch = WarmWindow("0 12 * * *", HOUR, 3, "Europe/Berlin")
    assert floor_at([WORK, lunch], at("2026-11-20 12:30")) == Floor(3, at("2026-11-20 13:00"), lunch)
    assert floor_at([WORK, lunch], at("2026-11-20 13:00")) == Floor(2, at("2026-11-20 18:00"), WORK)
    assert floor_at([], 0.0) == Floor(0, inf)


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_begin_is_by_the_wall_of_its_zone_also_when_clocks_change(day: str) -> None:
    daily = WarmWindow("0 8 * * *", HOUR, 1, "Europe/Berlin")
    assert floor_at([daily], at(f"{day} 07:59:59")).min_replicas == 0
    assert floor_at([daily], at(f"{day} 08:00")).until == at(f"{day} 08:00") + HOUR


def test_a_begin_in_the_hour_that_clocks_leave_out_comes_once_and_one_in_the_doubled_hour_once() -> None:
    night = WarmWindow("30 2 * * *", 600, 1, "Europe/Berlin")
    for day in ("2026-03-29", "2026-10-25"):
        start, opened, was = at(f"{day} 00:00"), 0, False
        for minute in range(6 * 60):
            now = floor_at([night], start + minute * 60).min_replicas > 0
            opened += now and not was
            was = now
        assert opened == 1


def test_a_window_that_is_longer_than_its_period_is_always_open() -> None:
    always = WarmWindow("0 0 * * *", 36 * HOUR)
    for hour in range(72):
        found = floor_at([always], at("2026-11-20 00:00", "UTC") + hour * HOUR)
        assert found.min_replicas == 1
        assert found.until > at("2026-12-20 00:00", "UTC")


@given(
    st.sampled_from(["*/7 * * * *", "0 8 * * 1-5", "30 2 * * *", "0 0 1,15 * 3", "59 23 31 12 *"]),
    st.floats(60, 7 * 86400),
    st.sampled_from(["", "Europe/Berlin", "America/St_Johns"]),
    st.floats(1.7e9, 1.9e9),
)
def test_nothing_changes_before_the_moment_that_is_named(
    cron: str, seconds: float, zone: str, wall: float
) -> None:
    window = WarmWindow(cron, seconds, 1, zone)
    found = floor_at([window], wall)
    assert found.until >= int(wall)
    between = (wall + found.until) / 2
    if between < found.until - 1:
        assert floor_at([window], between).min_replicas == found.min_replicas


@pytest.mark.parametrize(
    ("window", "field"),
    [
        (WarmWindow("", HOUR), "cron"),
        (WarmWindow("0 8 * *", HOUR), "cron"),
        (WarmWindow("0 0 8 * * 1", HOUR), "cron"),
        (WarmWindow("61 8 * * *", HOUR), "cron"),
        (WarmWindow("0 0 30 2 *", HOUR), "cron"),
        (WarmWindow("* * * * *", 59), "duration"),
        (WarmWindow("* * * * *", 8 * 86400), "duration"),
        (WarmWindow("* * * * *", 60, -1), "min_replicas"),
        (WarmWindow("* * * * *", 60, 3), "min_replicas"),
        (WarmWindow("* * * * *", 60, 1, "Mars/Olympus"), "time_zone"),
        (WarmWindow("* * * * *", 60, 1, "../etc"), "time_zone"),
        (WarmWindow("* * * * *", 60, 1, "Europe"), "time_zone"),
    ],
)
def test_each_mistake_is_named_by_its_field(window: WarmWindow, field: str) -> None:
    assert [name for name, _ in window_problems([window], most=2)] == [f"warm_windows.0.{field}"]


def test_too_many_windows_are_refused() -> None:
    found = window_problems([WarmWindow("* * * * *", 60)] * 17, most=0)
    assert [name for name, _ in found] == ["warm_windows"]


def test_a_window_says_what_it_is() -> None:
    assert str(WORK) == "0 8 * * 1-5 for 36000 s in Europe/Berlin x2"
    assert datetime.fromtimestamp(floor_at([WORK], 0.0).until, UTC).hour in (6, 7)
