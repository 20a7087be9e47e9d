"""Which replicas may go for another model, what each costs, and why the others stay."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from weft_router.fleet.entities import Replica, ReplicaState
from weft_router.fleet.views import NodeView, ReplicaView, Snapshot
from weft_router.placement.request import Request
from weft_router.placement.rules import EvictionRules

# Loads that take less than this are all the same: among them only rest counts, and measuring noise does not.
_CHEAP_LOAD_SECONDS = 10.0
_SHORTEST_REST_SECONDS = 1e-3
_BUSY_COST = 1e9


class Kept(StrEnum):
    """Why a replica stays."""

    SAME = "of the same model"
    LEAVING = "leaving"
    LOADING = "still loading"
    PINNED = "pinned"
    NEEDED = "held by its policy"
    UNMEASURED = "not measured yet"
    UNHEARD = "on a node that does not report its load"
    YOUNG = "loaded too recently"
    BUSY = "busy"


# What time, reports or the end of requests change; everything else needs somebody to change it.
PASSING = frozenset({Kept.LOADING, Kept.UNMEASURED, Kept.UNHEARD, Kept.YOUNG, Kept.BUSY})


@dataclass(frozen=True, slots=True)
class Victim:
    """A replica that may go; the cheapest go first."""

    view: ReplicaView
    cost: float
    # When it may go: at once, or when its residency ends.
    ripe_at: float


@dataclass(frozen=True, slots=True)
class Court:
    """Judges replicas for one request at one moment; `_surplus` and `_judged` only save doing it twice."""

    request: Request
    snapshot: Snapshot
    now: float
    rules: EvictionRules
    _surplus: dict[str, int] = field(default_factory=dict, compare=False)
    _judged: dict[str, tuple[Kept, ...]] = field(default_factory=dict, compare=False)

    def victims(self, view: NodeView, ignoring: frozenset[Kept] = frozenset()) -> Sequence[Victim]:
        """Replicas of a node that may go, cheapest first; `ignoring` asks what if some reasons did not hold."""
        residency = self.rules.residency_seconds
        found = [
            Victim(r, self._cost(r, view), r.ready_since + residency)
            for r in view.replicas
            if ignoring.issuperset(self.reasons(r, view))
        ]
        found.sort(key=lambda v: (v.cost, v.view.replica.id))
        return self._above_minimum(found, view)

    def reasons(self, replica: ReplicaView, view: NodeView) -> tuple[Kept, ...]:
        """Why a replica of a node stays, what lasts longest first; nothing if it may go."""
        known = self._judged.get(replica.replica.id)
        if known is None:
            serves = replica.replica.id not in view.strays
            lasting = self._lasting(replica.replica, serves=serves)
            known = (lasting,) if lasting else tuple(self._passing(replica, serves=serves))
            self._judged[replica.replica.id] = known
        return known

    def _lasting(self, replica: Replica, *, serves: bool) -> Kept | None:
        if replica.state not in (ReplicaState.READY, ReplicaState.LOADING):
            return Kept.LEAVING
        if not serves:
            return None
        if replica.model == self.request.model.name:
            return Kept.SAME
        if self.snapshot.models[replica.model].pinned:
            return Kept.PINNED
        spare = self.surplus(replica.model) + (replica.state is ReplicaState.LOADING)
        if spare <= 0 or self.snapshot.policy_of(replica.model).spread_all:
            return Kept.NEEDED
        return None

    def surplus(self, model: str) -> int:
        """How many replicas of a model serve it beyond its minimum."""
        if model not in self._surplus:
            minimum = self.snapshot.policy_of(model).min_replicas
            self._surplus[model] = len(self.snapshot.serving(model)) - minimum
        return self._surplus[model]

    def _passing(self, view: ReplicaView, *, serves: bool) -> Iterator[Kept]:
        """Reasons that end by themselves. What no longer serves needs no time to prove itself."""
        if view.replica.state is ReplicaState.LOADING:
            yield Kept.LOADING
        if not view.holding.measured:
            yield Kept.UNMEASURED
        heard = self.snapshot.load_heard.get(view.replica.node_id, float("-inf"))
        if self.now - heard > self.rules.report_seconds:
            yield Kept.UNHEARD
        if serves and self.now < view.ready_since + self.rules.residency_seconds:
            yield Kept.YOUNG
        if view.in_flight_count:
            yield Kept.BUSY

    def _cost(self, replica: ReplicaView, view: NodeView) -> float:
        """What it will cost to have it back, over how long nobody missed it: least recently used first."""
        if replica.in_flight_count:
            return _BUSY_COST * replica.in_flight_count
        if replica.replica.id in view.strays:
            return 0.0
        loads = 1 + int(replica.replica.load_seconds / _CHEAP_LOAD_SECONDS)
        return loads * rest_cost(self.now - replica.idle_since)

    def _above_minimum(self, found: Sequence[Victim], view: NodeView) -> Sequence[Victim]:
        """Of each model no more than its surplus, so that no set of them goes below the minimum."""
        there = [v.view.replica for v in found if v.view.replica.id not in view.strays]
        # What still loads will serve by the time when it may go.
        surplus = Counter(r.model for r in there if r.state is ReplicaState.LOADING)
        surplus.update({model: self.surplus(model) for model in {r.model: None for r in there}})
        if all(count <= surplus[model] for model, count in Counter(r.model for r in there).items()):
            return found
        taken: Counter[str] = Counter()
        kept = []
        for victim in found:
            replica = victim.view.replica
            if replica.id not in view.strays:
                taken[replica.model] += 1
                if taken[replica.model] > surplus[replica.model]:
                    continue
            kept.append(victim)
        return kept


def rest_cost(rested_seconds: float) -> float:
    """The least that it costs to let a replica go that has rested so long."""
    return 1 / max(rested_seconds, _SHORTEST_REST_SECONDS)


def blockers(court: Court, views: Iterable[NodeView]) -> Mapping[Kept, int]:
    """How many replicas stay for which reason."""
    return Counter(reasons[0] for v in views for r in v.replicas if (reasons := court.reasons(r, v)))
