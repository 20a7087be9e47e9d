"""Make room for a model that fits nowhere: who goes, or what to wait for, or why nothing helps.

In this order: memory that is coming free anyway; the cheapest set of idle replicas on one node that lets the model
fit; once patience is over, the least busy ones, which finish first (or are cut, where that is allowed); wait
for what time or the end of requests will allow; refuse.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from weft_router.fleet.entities import Replica, ReplicaState
from weft_router.fleet.views import NodeView, ReplicaView, Snapshot
from weft_router.placement.cover import cheapest_set, cost, rooms_after
from weft_router.placement.decision import Evict, Explanation, Refuse, Rejected, Wait
from weft_router.placement.filters.places import PLACES, too_many
from weft_router.placement.filters.slot import free_index
from weft_router.placement.fit import fit, fits_alone
from weft_router.placement.pins import seen
from weft_router.placement.request import Request
from weft_router.placement.rules import EvictionRules
from weft_router.placement.victims import PASSING, Court, Kept, Victim, blockers, rest_cost

_GIB = 1 << 30
_CHANGES_SECONDS = 10.0
_NEVER_SECONDS = 60.0
_SOON_SECONDS = 5.0
# Workers measure at once what has been loaded, and on a machine without an idle moment a little later.
_MEASURED_SECONDS = 10.0
_UNKNOWN = "what could go is loading or not known well yet"
_RESTED = attrgetter("rested_since")


@dataclass(frozen=True, slots=True)
class _Found:
    """A set of victims on a node."""

    view: NodeView
    victims: tuple[Victim, ...]

    @property
    def ripe_at(self) -> float:
        return max(v.ripe_at for v in self.victims)


def make_room(
    request: Request, snapshot: Snapshot, rejected: Rejected, *, now: float, rules: EvictionRules
) -> Evict | Wait | Refuse:
    """Decide for a request that no node has room for."""
    why = rejected.explanation
    possible = [v for v in rejected.candidates if request.model.can_spill or fits_alone(v, request)]
    if not possible:
        return _refuse_for_good(request, rejected)
    coming = next((v for v in possible if _fits_soon(v, request)), None)
    if coming is not None:
        return _evict(_Found(coming, ()), request, why)
    if not request.may_evict:
        what = "place" if PLACES.phrase in why.counts else "memory"
        return Refuse(f"no free {what} ({why.summary()})", _CHANGES_SECONDS, why)
    court = Court(request, snapshot, now, rules)
    found = _cheapest(court, possible)
    if found is not None:
        return _evict(found, request, why)
    if _impatient(request, rules, now):
        found = min(
            _sets(court, possible, frozenset({Kept.BUSY})), key=lambda f: cost(f.victims), default=None
        )
    if found is not None:
        return replace(_evict(found, request, why), forced=rules.force, drains=not rules.force)
    return _nothing_yet(court, possible, why)


def _nothing_yet(court: Court, possible: Sequence[NodeView], why: Explanation) -> Wait | Refuse:
    request, now = court.request, court.now
    if next(_sets(court, possible, PASSING), None) is None:
        if any(_is_moving(r.replica) for v in possible for r in v.replicas):
            return _wait_or_refuse(
                request, "a replica that is on its way in or out is in the way", None, why, now
            )
        if any(_is_unknown(r, now) for v in possible for r in v.replicas):
            return _wait_or_refuse(request, _UNKNOWN, None, why, now)
        kept = ", ".join(f"{n} {reason}" for reason, n in blockers(court, possible).items())
        return Refuse(f"nothing may be evicted: {kept}", _CHANGES_SECONDS * 3, why)
    ripe = _earliest(court, possible, frozenset({Kept.YOUNG}))
    if ripe is not None:
        return _wait_or_refuse(request, "what could go was loaded too recently", ripe, why, now)
    ripe = _earliest(court, possible, frozenset({Kept.YOUNG, Kept.BUSY}))
    if ripe is None:
        return _wait_or_refuse(request, _UNKNOWN, None, why, now)
    return _wait_or_refuse(request, "everything that could go is busy", _patience_ends(court, ripe), why, now)


def _is_moving(replica: Replica) -> bool:
    """What goes takes its time, and another load may have been promised its memory: nobody knows how that ends."""
    return replica.state is ReplicaState.UNLOADING or not replica.begun


def _is_unknown(view: ReplicaView, now: float) -> bool:
    """A node's free memory lacks what such a replica holds, and nobody knows yet how much of its share that is.

    Some devices never tell what a process holds: what has been ready for longer is as well known as it will be.
    """
    is_new = now < view.ready_since + _MEASURED_SECONDS
    return is_new and view.replica.state is ReplicaState.READY and not view.holding.measured


def _patience_ends(court: Court, ripe: float) -> float | None:
    """When busy replicas may be closed for the request; nobody knows when one becomes idle before."""
    since = court.request.since
    return None if since is None else max(ripe, since + court.rules.patience_seconds)


def _cheapest(court: Court, possible: Iterable[NodeView]) -> _Found | None:
    """The cheapest set of idle replicas on any node, which is sought where replicas have rested longest."""
    best: _Found | None = None
    limit = float("inf")
    need_on, loose = court.request.need_on, court.request.model.can_spill
    views = [
        v
        for v in possible
        if loose or not v.memory_known or v.coming_bytes + v.reclaimable_bytes >= need_on(v)
    ]
    views.sort(key=_RESTED)
    for view in views:
        least = rest_cost(court.now - view.rested_since)
        if least >= limit:
            break
        if least * _victims_at_least(view, court.request) >= limit:
            continue
        victims = cheapest_set(view, court.victims(view), court.request)
        if victims is not None and cost(victims) < limit:
            best, limit = _Found(view, victims), cost(victims)
    return best


def _victims_at_least(view: NodeView, request: Request) -> int:
    """How many replicas must go at least to make room on one device; 1 where the model may be split."""
    largest = max((r.spare_bytes for r in view.coming if r.total_bytes), default=0)
    if len(view.coming) > 1 and request.model.device_limit != 1:
        return 1
    return max(1, -(-(request.need_on(view) - largest) // max(1, view.largest_piece_bytes)))


def _sets(court: Court, possible: Iterable[NodeView], ignoring: frozenset[Kept]) -> Iterator[_Found]:
    """For each node the cheapest set, if some reasons to stay did not hold."""
    for view in possible:
        victims = cheapest_set(view, court.victims(view, ignoring), court.request)
        if victims is not None:
            yield _Found(view, victims)


def _earliest(court: Court, possible: Iterable[NodeView], ignoring: frozenset[Kept]) -> float | None:
    """When the first set of replicas that only want time will have had it."""
    return min((f.ripe_at for f in _sets(court, possible, ignoring)), default=None)


def _evict(found: _Found, request: Request, why: Explanation) -> Evict:
    after = rooms_after(found.view, found.victims)
    shares = fit(after, request.need_on(found.view), request.model.device_limit)
    return Evict(
        node=found.view.node,
        victims=tuple(v.view.replica for v in found.victims),
        replica_index=free_index(found.view, request.model.name),
        shares=seen(
            found.view, request, shares or (), gone=frozenset(v.view.replica.id for v in found.victims)
        ),
        explanation=why,
    )


def _fits_soon(view: NodeView, request: Request) -> bool:
    """Whether the model fits once what is on its way out is gone."""
    if view.coming is view.rooms or too_many(view):
        return False
    if request.model.can_spill:
        return True
    if view.memory_known and view.coming_bytes < request.need_on(view):
        return False
    return fit(view.coming, request.need_on(view), request.model.device_limit) is not None


def _impatient(request: Request, rules: EvictionRules, now: float) -> bool:
    return rules.force or (request.since is not None and now >= request.since + rules.patience_seconds)


def _wait_or_refuse(
    request: Request, reason: str, until: float | None, why: Explanation, now: float
) -> Wait | Refuse:
    if request.deadline is None or now < request.deadline:
        return Wait(reason, until, why)
    retry = max(1.0, until - now) if until is not None else _SOON_SECONDS
    return Refuse(reason, retry, why)


def _refuse_for_good(request: Request, rejected: Rejected) -> Refuse:
    why = rejected.explanation
    if not rejected.candidates:
        return Refuse(why.summary(), _CHANGES_SECONDS, why)
    largest = max(v.total_bytes for v in rejected.candidates)
    need = request.most_bytes(rejected.candidates)
    reason = (
        f"it needs {need / _GIB:.1f} GiB and no node that it may use has more than {largest / _GIB:.1f} GiB"
    )
    return Refuse(reason, _NEVER_SECONDS, why)
