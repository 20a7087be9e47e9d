"""A simulated gateway: it picks a replica for each request from its view, and asks a router where it has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sim.machine import Report
from tests.sim.process import Ask, Outcome
from weft_common.affinity import AffinityRules, PrefixIndex
from weft_common.choice import choose
from weft_common.load_view import LoadView
from weft_router.fleet.entities import Replica
from weft_router.fleet.policy import RoutePolicy
from weft_router.fleet.views import Snapshot

if TYPE_CHECKING:
    from tests.sim.router import Router
    from tests.sim.world import World

_UNHEARD_SECONDS = 30.0
_ASK_AGAIN_SECONDS = 0.5
_MOST_TRIES = 3
_RULES = AffinityRules()


@dataclass(slots=True, eq=False)
class Seat:
    """A replica as a gateway sees it; state: the load."""

    replica_id: str
    node_id: str
    slot_count: int
    load: LoadView = field(default_factory=LoadView)
    in_flight_count: int = 0
    last_used: float = 0.0
    free_memory_bytes: int = 0


@dataclass(slots=True, eq=False)
class Gateway:
    """State: everything below `name`."""

    world: World
    name: str
    home: int = 0
    prefixes: PrefixIndex = field(default_factory=lambda: PrefixIndex(max_blocks=4096))
    _seats: dict[str, Seat] = field(default_factory=dict)
    _view: Snapshot = field(default_factory=Snapshot)
    _view_time: float = float("-inf")

    def arrive(self, ask: Ask) -> None:
        """Take a request from a client."""
        seats = self._serving(ask.model)
        if seats:
            self._pick(ask, seats)
        else:
            self._ask_router(ask)

    def serve(self, ask: Ask, replicas: tuple[Replica, ...]) -> None:
        """A router says who serves the model: the waiter picks for itself."""
        self._pick(ask, [self._seat(r) for r in replicas])

    def fall_back(self, ask: Ask) -> None:
        """Send a request to where Envoy would go next, since the first replica gave no byte."""
        world = self.world
        fallback, ask.fallback = ask.fallback, None
        if fallback is not None and world.deliver(ask, fallback, None):
            world.ledger.note("requests that their fallback took")
            return
        ask.tries += 1
        if ask.tries >= _MOST_TRIES:
            reason = "every replica is full" if ask.met_full else "no replica could be reached"
            world.end(ask, Outcome.REFUSED, reason)
        else:
            world.agenda.after(_ASK_AGAIN_SECONDS, self._again, ask)

    def report(self, report: Report) -> None:
        """Take a worker's word on load."""
        now = self.world.agenda.now
        for replica_id, busy in report.busy.items():
            seat = self._seats.get(replica_id)
            if seat is not None:
                contiguous, beyond = report.seen.get(replica_id, {}).get(self.name, (0, ()))
                seat.load.report(busy, contiguous, beyond, now)
        for replica_id in report.gone:
            self._seats.pop(replica_id, None)

    def _again(self, ask: Ask) -> None:
        if ask.outcome is None:
            self.arrive(ask)

    def _pick(self, ask: Ask, seats: list[Seat]) -> None:
        now = self.world.agenda.now
        for seat in seats:
            seat.in_flight_count, seat.last_used = seat.load.in_flight_count(now), seat.load.last_used
        warm = self.prefixes.prefer(seats, ask.chain, _RULES, now) if ask.chain else None
        choice = choose(seats, self.name, preferred=warm, slots=lambda s: s.slot_count)
        assert choice is not None, "there was nobody to choose from"
        self._check(choice.primary, choice.fallback, seats, is_warm=warm is not None)
        ask.fallback = choice.fallback.replica_id if choice.fallback else None
        if ask.chain:
            self.prefixes.observe(ask.chain, choice.primary.replica_id, now)
        pick = choice.primary.load.pick(now)
        if not self.world.deliver(ask, choice.primary.replica_id, pick):
            self.fall_back(ask)

    def _check(self, primary: Seat, fallback: Seat | None, seats: list[Seat], *, is_warm: bool) -> None:
        """The pick is one of the least busy, or warm and within the guard; the fallback is another."""
        fewest = min(s.in_flight_count for s in seats)
        problems = []
        if fallback is primary or (fallback is None and len(seats) > 1):
            problems.append(f"{primary.replica_id} has no fallback of {len(seats)}")
        if is_warm and not _RULES.permits(primary.in_flight_count, fewest):
            problems.append(
                f"{primary.replica_id} is warm and has {primary.in_flight_count}, others {fewest}"
            )
        full = any(s.in_flight_count < s.slot_count for s in seats) and (
            primary.in_flight_count >= primary.slot_count
        )
        if not is_warm and full:
            problems.append(f"{primary.replica_id} is full and others are not")
        self.world.ledger.check(self.world.agenda.now, problems)

    def _serving(self, model: str) -> list[Seat]:
        now = self.world.agenda.now
        router = self._router()
        if router is not None and now - self._view_time > self.world.shape.view_lag_seconds:
            self._view, self._view_time = router.fleet.snapshot(), now
        if router is None:
            return [self._seat(r) for r in self._view.serving(model)]
        heard, since = router.fleet.heard, router.now() - _UNHEARD_SECONDS
        return [
            self._seat(r) for r in self._view.serving(model) if heard.get(r.node_id, router.started) >= since
        ]

    def _router(self) -> Router | None:
        """The router that it watches; another one as soon as that is gone; None while all are."""
        routers = self.world.routers
        for _ in routers:
            if routers[self.home].answers and routers[self.home].knows:
                return routers[self.home]
            self.home = (self.home + 1) % len(routers)
        return None

    def _ask_router(self, ask: Ask) -> None:
        router = self.world.owner_of(ask.model)
        if self.world.agenda.now >= ask.deadline:
            # It was worked on when its patience ended, lost its replica before the first byte, and finds no other.
            self.world.end(ask, Outcome.TIMED_OUT)
        elif router is None:
            self.world.agenda.after(_ASK_AGAIN_SECONDS, self._again, ask)
        else:
            router.waiting.add(ask)

    def _seat(self, replica: Replica) -> Seat:
        seat = self._seats.get(replica.id)
        if seat is None:
            seat = self._seats[replica.id] = Seat(replica.id, replica.node_id, replica.slot_count)
        return seat

    def wants_prefixes(self, model: str) -> bool:
        """Whether requests for a model carry what their prompt begins with."""
        return self._view.policy_of(model).route_policy is not RoutePolicy.ROUND_ROBIN
