"""What keeps models warm, from the terminal into the API's words and back."""

import pytest
import typer

from weft_common.cli.keep_warm import kept_warm, read_keep_alive, read_window


@pytest.mark.parametrize(
    ("text", "said"),
    [("5m", "300.000000s"), ("1h30m", "5400.000000s"), ("0", "0.000000s"), ("-1", "-1s"), ("-5m", "-1s")],
)
def test_a_keep_alive_is_a_duration_or_for_ever(text: str, said: str) -> None:
    assert read_keep_alive(text) == said


def test_a_window_has_a_cron_line_a_duration_and_perhaps_a_zone_and_a_number() -> None:
    assert read_window("0 8 * * 1-5 for 10h in Europe/Berlin x2") == {
        "cron": "0 8 * * 1-5",
        "duration": "36000.000000s",
        "time_zone": "Europe/Berlin",
        "min_replicas": 2,
    }
    plain = {"cron": "0 8 * * 1-5", "duration": "90.000000s", "time_zone": "", "min_replicas": 1}
    assert read_window(" 0 8 * * 1-5 for 90s ") == plain


@pytest.mark.parametrize("text", ["0 8 * * *", "0 8 * * * for", "0 8 * * * for long", "for 5m"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        read_window(text)


def test_a_policy_says_what_keeps_its_model() -> None:
    window = {"cron": "0 8 * * 1-5", "duration": "36000s", "time_zone": "Europe/Berlin", "min_replicas": 2}
    policy = {"keep_alive": "5400s", "warm_windows": [window], "prewarm": False}
    assert kept_warm(policy) == "1h30m idle, 0 8 * * 1-5 for 10h in Europe/Berlin x2, not prewarmed"
    assert kept_warm({"warm_windows": []}) == "default"
    assert kept_warm({"keep_alive": "-1s", "warm_windows": []}) == "for ever idle"
