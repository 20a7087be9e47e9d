"""Times that return, during which a model is kept loaded: when one is open, and what is wrong with one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from math import inf
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MAX_WINDOWS = 16
_MINUTE = 60.0
_WEEK = 7 * 86400.0
_FIELDS = 5
# A window that begins anew before it ends is followed so far; beyond that, it is looked at again later.
_MAX_RENEWALS = 64


@dataclass(frozen=True, slots=True)
class WarmWindow:
    """Begins whenever `cron` comes true in its time zone (empty: UTC), and lasts for `seconds`."""

    cron: str
    seconds: float
    min_replicas: int = 1
    time_zone: str = ""

    def __str__(self) -> str:
        zone = f" in {self.time_zone}" if self.time_zone else ""
        times = f" x{self.min_replicas}" if self.min_replicas > 1 else ""
        return f"{self.cron} for {self.seconds:.0f} s{zone}{times}"


@dataclass(frozen=True, slots=True)
class Floor:
    """How many replicas windows ask for at a moment, which one asks for most, and until when that is certain.

    `until` is in seconds since 1970, and infinite where no window ever changes anything.
    """

    min_replicas: int = 0
    until: float = inf
    window: WarmWindow | None = None


def floor_at(windows: Iterable[WarmWindow], wall: float) -> Floor:
    """What windows ask for at `wall`, in seconds since 1970.

    By the begin of each window and nothing remembered: one that began while nobody looked counts all the same.
    """
    least, until, asks = 0, inf, None
    for window in windows:
        is_open, changes = _standing(window, wall)
        until = min(until, changes)
        if is_open and window.min_replicas > least:
            least, asks = window.min_replicas, window
    return Floor(least, until, asks)


def window_problems(windows: Sequence[WarmWindow], most: int) -> Iterator[tuple[str, str]]:
    """What is wrong with a policy's windows, by field; `most` is its maximum of replicas, 0 for none."""
    if len(windows) > MAX_WINDOWS:
        yield "warm_windows", f"{MAX_WINDOWS} at most are possible"
    for index, window in enumerate(windows[:MAX_WINDOWS]):
        for name, problem in _problems(window, most).items():
            if problem:
                yield f"warm_windows.{index}.{name}", problem


def _problems(window: WarmWindow, most: int) -> dict[str, str]:
    zone = _zone(window.time_zone)
    return {
        "cron": _cron_problem(window.cron),
        "duration": "" if _MINUTE <= window.seconds <= _WEEK else "a minute to a week is needed",
        "min_replicas": _replicas_problem(window.min_replicas, most),
        "time_zone": "" if zone else "no time zone has this name; one such as Europe/Berlin is needed",
    }


def _replicas_problem(least: int, most: int) -> str:
    if least < 0:
        return "0 or more is needed"
    return f"{least} is more than max_replicas {most}" if 0 < most < least else ""


def _cron_problem(cron: str) -> str:
    needed = "minute, hour, day of month, month and day of week are needed, such as '0 8 * * 1-5'"
    if len(cron.split()) != _FIELDS:
        return needed
    try:
        begin = next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        return f"{str(error).lower()}: {needed}"
    return "" if begin else "it never comes true"


def _standing(window: WarmWindow, wall: float) -> tuple[bool, float]:
    """Whether a window is open, and when that changes at the earliest."""
    now = int(wall)
    zone = _zone(window.time_zone) or UTC
    since = now - int(window.seconds)
    found = (b.timestamp() for b in CronSim(window.cron, datetime.fromtimestamp(since, zone)))
    # Where clocks are set back, an hour that returns would bring its begin twice.
    begins = (begin for begin in found if begin > since)
    begin = next(begins, inf)
    if begin > now:
        return False, begin
    end = begin + window.seconds
    for _ in range(_MAX_RENEWALS):
        if (begin := next(begins, inf)) > end:
            break
        end = begin + window.seconds
    return True, end


def _zone(name: str) -> tzinfo | None:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (
        KeyError,
        ValueError,
        OSError,
    ):  # unknown; no name at all, such as ../x; a folder of names, such as Europe
        return None
