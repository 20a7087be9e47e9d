"""What is likely to be asked for soon, by what was asked for at the same time of earlier days. Simple on purpose.

A day has slots of a quarter of an hour, by UTC. A model is expected in a slot if it was asked for in it on two of the
last three days, or on two of the last three days of the same name a week apart: so an office's Monday is expected by
Mondays, and its Tuesday by Monday and Friday at the latest.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SLOT_SECONDS = 900
# It is loaded so long before a slot begins.
LEAD_SECONDS = 300.0
_DAY_SECONDS = 86400
_ENOUGH = 2
_LAST_DAYS = (1, 2, 3)
_LAST_WEEKS = (7, 14, 21)
OLDEST_DAYS = max(_LAST_WEEKS)


@dataclass(frozen=True, slots=True)
class Slot:
    """A quarter of an hour of a day; `day` counts from 1970."""

    day: int
    index: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A model was asked for in a slot."""

    model: str
    slot: Slot


def slot_at(wall: float) -> Slot:
    """The slot of a moment in seconds since 1970."""
    day, seconds = divmod(int(wall), _DAY_SECONDS)
    return Slot(day, seconds // SLOT_SECONDS)


def slots_ahead(wall: float) -> tuple[Slot, ...]:
    """The slot of a moment, and the next one once it is near."""
    return tuple(dict.fromkeys((slot_at(wall), slot_at(wall + LEAD_SECONDS))))


def slots_that_tell(slot: Slot) -> tuple[Slot, ...]:
    """The slots of earlier days by which it is known what to expect in one."""
    return tuple(Slot(slot.day - back, slot.index) for back in (*_LAST_DAYS, *_LAST_WEEKS))


def likely(history: Iterable[Asked], ahead: Iterable[Slot]) -> Mapping[str, str]:
    """Models that are likely to be asked for in any of the slots, and why."""
    days: dict[tuple[str, int], set[int]] = {}
    for asked in history:
        days.setdefault((asked.model, asked.slot.index), set()).add(asked.slot.day)
    found: dict[str, str] = {}
    for slot in ahead:
        for (model, index), there in sorted(days.items()):
            why = _why(there, slot) if index == slot.index else ""
            if why and model not in found:
                found[model] = f"it is likely to be asked for about {_clock(slot)} UTC: it was {why}"
    return found


def _why(days: set[int], slot: Slot) -> str:
    lately = sum(slot.day - back in days for back in _LAST_DAYS)
    if lately >= _ENOUGH:
        return f"on {lately} of the last {len(_LAST_DAYS)} days"
    weekly = sum(slot.day - back in days for back in _LAST_WEEKS)
    return f"on this day of {weekly} of the last {len(_LAST_WEEKS)} weeks" if weekly >= _ENOUGH else ""


def _clock(slot: Slot) -> str:
    minutes = slot.index * SLOT_SECONDS // 60
    return f"{minutes // 60:02}:{minutes % 60:02}"
