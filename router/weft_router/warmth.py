"""Keeps models warm and lets them go: windows, idle replicas, demand ahead. What to do is decided in `fleet/`.

Every router holds the minima of open windows, since each of them places and evicts, and reads what to expect; only
the one that leads takes the steps, by its reconciler, and notes demand.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from weft_common.clock import Clock
from weft_common.errors import PartUnavailable
from weft_router.fleet.demand import Asked, likely, slot_at, slots_ahead, slots_that_tell
from weft_router.fleet.entities import ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.idleness import IdleRules, idle_steps, said_of
from weft_router.fleet.reclaim import Reclaim
from weft_router.fleet.scaling import Grow, Step
from weft_router.fleet.views import Snapshot
from weft_router.fleet.windows import Floor, WarmWindow, floor_at
from weft_router.store.protocol import Store

_LOOK_SECONDS = 1.0
_DEMAND_SECONDS = 30.0
# A replica that was used within this time was asked for now.
_USED_SECONDS = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a policy's windows asked for when that was last looked at."""

    windows: tuple[WarmWindow, ...]
    floor: Floor
    looked: float


class Warmth:
    """State: `_floors` by model; `_expected`, models with demand ahead and why; `_asked`, demand to be written
    down, and `_noted`, what is written; `_demand_at`, when demand is next read; `_reclaim`.

    Wall time is in seconds since 1970.
    """

    def __init__(self, *, fleet: Fleet, store: Store, clock: Clock, rules: IdleRules, prewarm: bool) -> None:
        self._fleet = fleet
        self._store = store
        self._clock = clock
        self._rules = rules
        self._prewarm = prewarm
        self._floors: dict[str, _Known] = {}
        self._expected: Mapping[str, str] = {}
        self._asked: set[Asked] = set()
        self._noted: set[Asked] = set()
        self._demand_at = -inf
        self._reclaim = Reclaim()

    async def keep(self) -> None:
        """Look for ever."""
        while True:
            self.open_windows()
            if self._clock.monotonic() >= self._demand_at and any(map(self._prewarms, self._fleet.models)):
                self._demand_at = self._clock.monotonic() + _DEMAND_SECONDS
                try:
                    await self.look_ahead()
                except PartUnavailable as error:
                    _log.debug("demand_not_known", extra={"error": str(error)})
            await asyncio.sleep(_LOOK_SECONDS)

    def open_windows(self) -> None:
        """Hold what the windows ask for at this moment; one that began while nobody looked counts as well."""
        wall = self._clock.wall()
        policies = [p for p in self._fleet.policies.values() if p.warm_windows]
        before = self._floors
        self._floors = {p.model: self._looked(p.model, p.warm_windows, wall) for p in policies}
        for model in before.keys() | self._floors.keys():
            now, then = self.floor(model), before[model].floor if model in before else Floor()
            if now.window != then.window:
                fields = {"model": model, "window": str(now.window or then.window), "least": now.min_replicas}
                _log.info("warm_window_opened" if now.window else "warm_window_closed", extra=fields)
        self._fleet.hold({m: k.floor.min_replicas for m, k in self._floors.items() if k.floor.min_replicas})

    async def look_ahead(self) -> None:
        """Write down what was asked for, and read what to expect; raises PartUnavailable."""
        asked = self._asked - self._noted
        if asked:
            await self._store.demand.note(asked)
            self._noted = {a for a in self._noted | asked if a.slot == slot_at(self._clock.wall())}
            self._asked -= asked
        models = {m for m in self._fleet.models if self._prewarms(m)}
        ahead = slots_ahead(self._clock.wall())
        history = await self._store.demand.read([s for slot in ahead for s in slots_that_tell(slot)])
        self._expected = likely((a for a in history if a.model in models), ahead)

    def floor(self, model: str) -> Floor:
        """What the model's windows ask for, as it was last looked at."""
        known = self._floors.get(model)
        return known.floor if known else Floor()

    def wanted(self) -> tuple[str, ...]:
        """Models that are to be loaded although nobody asks for them yet."""
        return tuple(m for m in self._expected if self._prewarms(m))

    def why(self, model: str) -> str:
        """What raises the model's minimum just now, if anything."""
        window = self.floor(model).window
        return f"the warm window '{window}' is open" if window else ""

    def steps(self, snapshot: Snapshot, now: float) -> Iterator[Step]:
        """What the leader is to do; `now` is of the monotonic clock."""
        self._note_use(snapshot, now)
        expected = {m: self._expected[m] for m in self.wanted()}
        yield from idle_steps(snapshot, now=now, rules=self._rules, expected=expected, reclaim=self._reclaim)
        for model, reason in expected.items():
            if model in snapshot.models and not _is_there(model, snapshot):
                yield Grow(model, reason)

    def said(self, model: str) -> Sequence[str]:
        """What keeps a model loaded or will unload it, a sentence each."""
        snapshot, floor = self._fleet.snapshot(), self.floor(model)
        said = list(said_of(model, snapshot, self._rules))
        if floor.window is not None:
            until = datetime.fromtimestamp(floor.until, UTC).strftime("%Y-%m-%d %H:%M UTC")
            said.insert(0, f"the warm window '{floor.window}' is open until {until}")
        if model in self.wanted():
            said.append(self._expected[model])
        return said

    def _looked(self, model: str, windows: tuple[WarmWindow, ...], wall: float) -> _Known:
        known = self._floors.get(model)
        if known is not None and known.windows == windows and known.looked <= wall < known.floor.until:
            return known
        return _Known(windows, floor_at(windows, wall), wall)

    def _prewarms(self, model: str) -> bool:
        policy = self._fleet.policies.get(model)
        said = None if policy is None else policy.prewarm
        spread = policy is not None and policy.spread_all
        return not spread and (self._prewarm if said is None else said)

    def _note_use(self, snapshot: Snapshot, now: float) -> None:
        slot = slot_at(self._clock.wall())
        learning = {m for m in snapshot.of_model if self._prewarms(m)}
        learning -= {a.model for a in self._asked | self._noted if a.slot == slot}
        views = (v for n in snapshot.views for v in n.replicas) if learning else ()
        for view in (v for v in views if v.replica.model in learning):
            if view.in_flight_count or (view.last_used and now - view.last_used < _USED_SECONDS):
                self._asked.add(Asked(view.replica.model, slot))


def _is_there(model: str, snapshot: Snapshot) -> bool:
    return any(r.state in (ReplicaState.LOADING, ReplicaState.READY) for r in snapshot.replicas(model))
