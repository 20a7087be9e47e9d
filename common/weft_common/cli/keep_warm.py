"""What keeps models loaded, as people write and read it at a terminal."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import typer

_WINDOW = re.compile(r"(?P<cron>.+?)\s+for\s+(?P<long>\S+)(?:\s+in\s+(?P<zone>\S+))?(?:\s+x(?P<count>\d+))?")
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def read_keep_alive(text: str | None) -> str | None:
    """Read `5m`, `0` or `-1`, and say it in the API's words."""
    if text is None:
        return None
    if text.startswith("-"):
        return "-1s"
    return _duration(text, "--keep-alive")


def read_window(text: str) -> Mapping[str, object]:
    """Read `0 8 * * 1-5 for 10h in Europe/Berlin x2`, and say it in the API's words."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(
            f"'{text}' is not of the form 'CRON for DURATION [in ZONE] [xN]'", param_hint="--warm"
        )
    return {
        "cron": match["cron"],
        "duration": _duration(match["long"], "--warm"),
        "time_zone": match["zone"] or "",
        "min_replicas": int(match["count"] or 1),
    }


def kept_warm(policy: Mapping[str, Any]) -> str:
    """Say in few words what keeps a model loaded."""
    said = [f"{_said_keep_alive(policy['keep_alive'])} idle"] if policy.get("keep_alive") else []
    said += [_said_window(window) for window in policy.get("warm_windows", ())]
    if policy.get("prewarm") is not None:
        said.append("prewarmed" if policy["prewarm"] else "not prewarmed")
    return ", ".join(said) or "default"


def _duration(text: str, flag: str) -> str:
    # Imported late: `weft --help` does not wait for it.
    from weft_common.duration import parse_duration

    seconds = parse_duration(text)
    if not isinstance(seconds, timedelta):
        raise typer.BadParameter(f"'{text}' is no duration such as 90s, 5m or 1h30m", param_hint=flag)
    return f"{seconds.total_seconds():.6f}s"


def _said_keep_alive(duration: str) -> str:
    return "for ever" if duration.startswith("-") else _said_duration(duration)


def _said_window(window: Mapping[str, Any]) -> str:
    zone = f" in {window['time_zone']}" if window["time_zone"] else ""
    times = f" x{window['min_replicas']}" if window["min_replicas"] > 1 else ""
    return f"{window['cron']} for {_said_duration(window['duration'])}{zone}{times}"


def _said_duration(duration: str) -> str:
    seconds = float(duration.removesuffix("s"))
    if seconds != int(seconds) or not seconds:
        return f"{seconds:g}s"
    left, pieces = int(seconds), []
    for size, unit in _UNITS:
        if left >= size:
            pieces.append(f"{left // size}{unit}")
            left %= size
    return "".join(pieces)
