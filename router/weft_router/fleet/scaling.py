"""How many replicas a model shall have next: one step at a time, from a snapshot and what is remembered of the last.

Replicas come and go by themselves only where a policy has a minimum or a maximum, or spreads its model everywhere;
what can never serve goes in any case.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from weft_router.fleet.entities import Replica, ReplicaState
from weft_router.fleet.policy import Policy, matches
from weft_router.fleet.views import NodeView, ReplicaView, Snapshot


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """After how long busyness adds a replica and idleness takes one away.

    A replica is busy with `busy_share` of its slots in use: at 1 with all of them, at 0 with any request at all. Who
    has not said for `report_seconds` how busy its replicas are may be busy or idle for all one knows.
    """

    busy_seconds: float = 10.0
    idle_seconds: float = 300.0
    busy_share: float = 1.0
    report_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Remembered:
    """What one look at a model hands to the next: for how long all its replicas have been busy, when it looked, which
    of them served and since when (None before the first look), when one more did last, since when looks have followed
    each other without a gap, and the most requests at once: (moment, count), each less than all before it.

    Moments at which one of them was not busy, between two requests, take a multiple of their time off and not all of
    it: so whoever is busy nearly always is found busy, and whoever is busy by turns is not.
    """

    busy_seconds: float = 0.0
    looked: float | None = None
    serving: Mapping[str, float] | None = None
    gained: float = float("-inf")
    watched: float = float("inf")
    peaks: tuple[tuple[float, float], ...] = ()

    def after(self, now: float, serving: Iterable[str], *, busy: bool) -> "Remembered":
        """What is remembered after one more look; a long time without one says nothing."""
        seconds = 0.0 if self.looked is None else min(now - self.looked, _LONGEST_GAP_SECONDS)
        busy_seconds = self.busy_seconds + seconds if busy else self.busy_seconds - _REST_WEIGHT * seconds
        before = self.serving or {}
        since = {replica_id: before.get(replica_id, now) for replica_id in serving}
        # Who begins to look cannot know who came back a moment ago.
        more = self.serving is None or not since.keys() <= before.keys()
        gap = self.looked is None or now - self.looked > _LONGEST_GAP_SECONDS
        return replace(
            self,
            busy_seconds=max(0.0, busy_seconds),
            looked=now,
            serving=since,
            gained=now if more else self.gained,
            watched=now if gap else min(self.watched, now),
        )

    def noting(self, count: float, *, for_seconds: float) -> "Remembered":
        """With so many requests at once at this look; what is older than `for_seconds` is forgotten."""
        now = self.looked or 0.0
        kept = tuple(peak for peak in self.peaks if peak[1] > count and now - peak[0] <= for_seconds)
        return replace(self, peaks=(*kept, (now, count)))

    def stepped(self, now: float) -> "Remembered":
        """After a step, whose effect is to be seen before the next one for the same reason."""
        return replace(self, busy_seconds=0.0, watched=now)

    def peak(self, for_seconds: float) -> float:
        """The most requests at once within that time; beyond all bounds where it was not watched all along."""
        now = self.looked or 0.0
        return self.peaks[0][1] if self.peaks and now - self.watched >= for_seconds else float("inf")


# Below four fifths of the time a model counts as not busy in the long run.
_REST_WEIGHT = 4.0
_LONGEST_GAP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Grow:
    """Load one more replica, on that node if it is given."""

    model: str
    reason: str
    node_id: str | None = None
    may_evict: bool = False


@dataclass(frozen=True, slots=True)
class Shrink:
    """Unload a replica; it finishes what it has."""

    replica: Replica
    reason: str

    @property
    def model(self) -> str:
        """Whose replica it is."""
        return self.replica.model


Step: TypeAlias = Grow | Shrink


def next_step(
    model: str,
    snapshot: Snapshot,
    remembered: Remembered,
    *,
    now: float,
    rules: ScalingRules,
    avoid: frozenset[str] = frozenset(),
    waited_for: bool = False,
    mute: frozenset[str] = frozenset(),
) -> tuple[Step | None, Remembered]:
    """The one thing to do for a model now, if any, and what to remember; nothing is spread to nodes to `avoid`.

    A model that is `waited_for` is busy, also in the moment in which a slot goes from one request to the next. Replicas
    that are `mute`, on nodes that go on reporting, take no request off the others.
    """
    there = _views(model, snapshot)
    stray = next((v for v in there if _is_stray(v.replica, snapshot)), None)
    if stray is not None:
        return Shrink(stray.replica, "it can never serve: its model or its node's labels changed"), remembered
    if model not in snapshot.models:
        return None, Remembered()
    policy = snapshot.policy_of(model)
    if policy.spread_all:
        return _spread(model, policy, snapshot, avoid), Remembered()
    live = [v for v in there if _is_live(v.replica) and snapshot.counts(v.replica)]
    if not policy.scales:
        return None, Remembered()
    busy = _all_busy(live, rules, mute, waited_for=waited_for)
    remembered = remembered.after(now, (v.replica.id for v in live), busy=busy)
    demand = _demand(live, snapshot, now, rules, waited_for=waited_for)
    remembered = remembered.noting(demand, for_seconds=rules.idle_seconds)
    step = _toward_bounds(model, policy, live) or _down(policy, live, remembered, rules)
    if step is None and _may_grow(policy, live) and remembered.busy_seconds >= rules.busy_seconds:
        step = Grow(model, "every replica is busy")
    return step, remembered if step is None else remembered.stepped(now)


def _toward_bounds(model: str, policy: Policy, live: Sequence[ReplicaView]) -> Step | None:
    if len(live) < policy.min_replicas:
        reason = f"{len(live)} of at least {policy.min_replicas} replicas"
        return Grow(model, reason, may_evict=True)
    if policy.max_replicas and len(live) > policy.max_replicas:
        return Shrink(_most_rested(live).replica, f"{len(live)} of at most {policy.max_replicas} replicas")
    return None


def _down(
    policy: Policy, live: Sequence[ReplicaView], remembered: Remembered, rules: ScalingRules
) -> Step | None:
    loading = any(v.replica.state is ReplicaState.LOADING for v in live)
    if loading or len(live) <= max(policy.min_replicas, 1):
        return None
    return _idle(live, remembered, rules) or _superfluous(policy, live, remembered, rules)


def _idle(live: Sequence[ReplicaView], remembered: Remembered, rules: ScalingRules) -> Step | None:
    """One that had nothing to do for long."""
    now = remembered.looked or 0.0
    if not _settled(live, remembered, rules):
        return None
    idle = [v for v in live if not v.in_flight_count and now - v.idle_since >= rules.idle_seconds]
    return Shrink(_most_rested(idle).replica, f"idle for {rules.idle_seconds:.0f} s") if idle else None


def _superfluous(
    policy: Policy, live: Sequence[ReplicaView], remembered: Remembered, rules: ScalingRules
) -> Step | None:
    """One without which the others would not all have been busy at any moment for long, though each had its turn.

    Only what served all that time is counted on: who comes and goes with its node has none loaded and unloaded for it,
    and does not keep the others either.
    """
    now, since = remembered.looked or 0.0, remembered.serving or {}
    steady = [v for v in live if now - since.get(v.replica.id, now) >= rules.idle_seconds]
    if len(steady) <= max(policy.min_replicas, 1):
        return None
    chosen, peak = _most_rested(steady), remembered.peak(rules.idle_seconds)
    if peak >= sum(_busy_at(v, rules) for v in steady if v is not chosen):
        return None
    reason = f"at most {peak:.0f} requests at once for {rules.idle_seconds:.0f} s: {len(live) - 1} replicas suffice"
    return Shrink(chosen.replica, reason)


def _settled(live: Sequence[ReplicaView], remembered: Remembered, rules: ScalingRules) -> bool:
    """Whether the last one that came, or came back with its node, did so long ago.

    What is idle because nobody could reach it is none too many, and what was added meanwhile may be missed anew.
    """
    last = max((remembered.gained, *(v.ready_since for v in live)))
    return (remembered.looked or 0.0) - last >= rules.idle_seconds


def _may_grow(policy: Policy, live: Sequence[ReplicaView]) -> bool:
    """One at a time: what loads now may be what is missing."""
    if any(v.replica.state is ReplicaState.LOADING for v in live):
        return False
    return not policy.max_replicas or len(live) < policy.max_replicas


def _spread(model: str, policy: Policy, snapshot: Snapshot, avoid: frozenset[str]) -> Step | None:
    taken = avoid | {r.node_id for r in snapshot.replicas(model) if _is_live(r)}
    for view in snapshot.views:
        if _takes(view, model, policy, snapshot) and view.node.id not in taken:
            return Grow(model, f"{view.node.name} has none", view.node.id, may_evict=True)
    return None


def _takes(view: NodeView, model: str, policy: Policy, snapshot: Snapshot) -> bool:
    backend = snapshot.models[model].backend
    return view.receives and backend in view.engines and matches(policy.node_selector, view.node.labels)


def _all_busy(
    live: Sequence[ReplicaView], rules: ScalingRules, mute: frozenset[str], *, waited_for: bool
) -> bool:
    """Whether nobody who says how busy he is has room; where nobody says that, nobody can tell."""
    ready = [v for v in live if v.replica.state is ReplicaState.READY]
    telling = [v for v in ready if v.replica.id not in mute]
    if waited_for:
        return bool(ready)
    return bool(telling) and all(_is_busy(v, rules) for v in telling)


def _is_busy(view: ReplicaView, rules: ScalingRules) -> bool:
    return view.in_flight_count >= _busy_at(view, rules)


def _busy_at(view: ReplicaView, rules: ScalingRules) -> float:
    return max(1.0, view.replica.slot_count * rules.busy_share)


def _demand(
    live: Sequence[ReplicaView], snapshot: Snapshot, now: float, rules: ScalingRules, *, waited_for: bool
) -> float:
    """Requests at once; nobody knows how many while some wait, and who says nothing may be full."""
    if waited_for:
        return float("inf")
    heard = snapshot.load_heard
    return sum(
        v.in_flight_count
        if now - heard.get(v.replica.node_id, float("-inf")) <= rules.report_seconds
        else max(v.in_flight_count, v.replica.slot_count)
        for v in live
    )


def _most_rested(views: Iterable[ReplicaView]) -> ReplicaView:
    """Idle before busy, then the longest idle, then the highest index."""
    return min(views, key=lambda v: (v.in_flight_count, v.idle_since, -v.replica.index, v.replica.id))


def _is_live(replica: Replica) -> bool:
    return replica.state in (ReplicaState.LOADING, ReplicaState.READY)


def _is_stray(replica: Replica, snapshot: Snapshot) -> bool:
    """Whether it can never serve again; a silent node alone is no reason."""
    if not _is_live(replica):
        return False
    model = snapshot.models.get(replica.model)
    view = snapshot.by_id.get(replica.node_id)
    if model is None or model.revision != replica.revision:
        return True
    selector = snapshot.policy_of(replica.model).node_selector
    return view is not None and not matches(selector, view.node.labels)


def _views(model: str, snapshot: Snapshot) -> list[ReplicaView]:
    # No set: equal histories must give equal steps.
    nodes = dict.fromkeys(r.node_id for r in snapshot.replicas(model) if r.node_id in snapshot.by_id)
    return [v for i in nodes for v in snapshot.by_id[i].replicas if v.replica.model == model]
