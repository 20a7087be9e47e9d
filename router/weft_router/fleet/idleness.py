"""Which idle replicas go, one of a model at a time: nobody has asked for so long, or their node has too much on it.

How long a replica may be idle is said, in this order, by the latest request to it that said so, by its model's policy,
and by the setting of the fleet; its node may allow less. Whatever they say, what is pinned stays, and so does what a
policy, an open window or expected demand needs, and what was loaded a moment ago.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from weft_router.fleet.entities import Node, ReplicaState
from weft_router.fleet.policy import Policy
from weft_router.fleet.reclaim import Reclaim
from weft_router.fleet.scaling import Shrink
from weft_router.fleet.views import NodeView, ReplicaView, Snapshot


@dataclass(frozen=True, slots=True)
class IdleRules:
    """When idle replicas go.

    The fleet's `keep_alive_seconds` is for models of which nobody said anything, so it is stretched to `load_factor`
    times what a replica's load took: what is slow to come back is unloaded late. No replica goes within
    `residency_seconds` of its load, whose request may be on its way to it, nor from a node that has not reported its
    load for `report_seconds`.
    """

    keep_alive_seconds: float = inf
    load_factor: float = 10.0
    residency_seconds: float = 5.0
    report_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Stay:
    """How long a replica may be idle, and who says so."""

    seconds: float
    reason: str


@dataclass(slots=True)
class _Round:
    """One look; state: `_spare`, how many replicas of each model may still go, each model giving one at most."""

    snapshot: Snapshot
    rules: IdleRules
    now: float
    expected: Mapping[str, str]
    reclaim: Reclaim
    _spare: dict[str, int] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def may_go(self, view: ReplicaView, node: NodeView) -> bool:
        """Whether nothing but its own time keeps a replica."""
        replica = view.replica
        if replica.state is not ReplicaState.READY or view.in_flight_count or replica.model in self._gone:
            return False
        if replica.id in node.strays or self.now < view.ready_since + self.rules.residency_seconds:
            return False
        return self.spare(view) > 0

    def spare(self, view: ReplicaView) -> int:
        """How many replicas of its model serve beyond what is needed."""
        name = view.replica.model
        policy = self.snapshot.policy_of(name)
        if policy.spread_all or self.snapshot.models[name].pinned:
            return 0
        if name not in self._spare:
            self._spare[name] = len(self.snapshot.serving(name)) - policy.min_replicas
        # What is expected is held for nobody who said that it may go.
        held = name in self.expected and view.keep_alive_seconds is None and not policy.min_replicas
        return self._spare[name] - held

    def is_heard(self, node: NodeView) -> bool:
        """Whether a node said lately how busy its replicas are."""
        heard = self.snapshot.load_heard.get(node.node.id, -inf)
        return node.healthy and self.now - heard <= self.rules.report_seconds

    def let_go(self, view: ReplicaView, reason: str) -> Shrink:
        """Take a replica; none of its model follows in this round."""
        self._gone.add(view.replica.model)
        return Shrink(view.replica, reason)


def idle_steps(
    snapshot: Snapshot,
    *,
    now: float,
    rules: IdleRules,
    expected: Mapping[str, str] | None = None,
    reclaim: Reclaim | None = None,
) -> Iterator[Shrink]:
    """What is to be unloaded now, one replica of a model at most; `expected` are models with demand ahead.

    `reclaim` is what is remembered from one look to the next of memory that was to come free.
    """
    a_round = _Round(snapshot, rules, now, expected or {}, reclaim or Reclaim())
    a_round.reclaim.keep(snapshot)
    for node in snapshot.views:
        if not node.replicas or not a_round.is_heard(node):
            continue
        crowded = _crowded(a_round, node)
        if crowded is not None:
            yield a_round.let_go(*crowded)
        for view in node.replicas:
            idle_seconds, policy = now - view.idle_since, snapshot.policy_of(view.replica.model)
            if idle_seconds >= _stay_seconds(view, node.node, policy, rules) and a_round.may_go(view, node):
                stay = stay_of(view, node.node, policy, rules)
                yield a_round.let_go(view, f"idle for {idle_seconds:.0f} s: {stay.reason}")


def _stay_seconds(view: ReplicaView, node: Node, policy: Policy, rules: IdleRules) -> float:
    """The same as `stay_of` in a number: of thousands that are looked at every second, few need the sentence."""
    said = view.keep_alive_seconds
    if said is None:
        said = policy.keep_alive_seconds
    if said is None:
        said = max(rules.keep_alive_seconds, rules.load_factor * view.replica.load_seconds)
    return min(said, node.idle_limit_seconds)


def stay_of(view: ReplicaView, node: Node, policy: Policy, rules: IdleRules) -> Stay:
    """How long a replica may be idle where it is."""
    stay = _wished(view, policy, rules)
    if node.idle_limit_seconds < stay.seconds:
        limit = node.idle_limit_seconds
        return Stay(limit, f"{node.name} keeps nothing that is idle for more than {limit:g} s")
    return stay


def _wished(view: ReplicaView, policy: Policy, rules: IdleRules) -> Stay:
    if view.keep_alive_seconds is not None:
        return Stay(view.keep_alive_seconds, f"a request asked for {view.keep_alive_seconds:g} s")
    if policy.keep_alive_seconds is not None:
        return Stay(policy.keep_alive_seconds, f"its policy allows {policy.keep_alive_seconds:g} s")
    return inherited_stay(view.replica.load_seconds, rules)


def inherited_stay(load_seconds: float, rules: IdleRules) -> Stay:
    """How long a replica may be idle of which nobody said anything."""
    costly = rules.load_factor * load_seconds
    if rules.keep_alive_seconds < costly:
        return Stay(
            costly, f"{rules.load_factor:g} times its load of {load_seconds:.1f} s are allowed by default"
        )
    return Stay(rules.keep_alive_seconds, f"{rules.keep_alive_seconds:g} s are allowed by default")


def _crowded(a_round: _Round, node: NodeView) -> tuple[ReplicaView, str] | None:
    """Who goes from a node with too much on it, and why; nobody while something is on its way out already."""
    staying = sum(v.replica.state is not ReplicaState.UNLOADING for v in node.replicas)
    full, most = a_round.snapshot.full_devices.get(node.node.id, ()), node.node.max_replicas
    too_many = 0 < most < staying
    if staying < len(node.replicas) or not (full or too_many):
        return None
    idle = [v for v in node.replicas if a_round.may_go(v, node)]
    found = a_round.reclaim.victim(node, full, idle, a_round.now)
    if found is None and idle and too_many:
        return min(idle, key=_rest), f"{node.node.name} runs {staying} replicas of at most {most}"
    return found


def _rest(view: ReplicaView) -> tuple[float, str]:
    return view.idle_since, view.replica.id


def said_of(model: str, snapshot: Snapshot, rules: IdleRules) -> Sequence[str]:
    """What keeps a model's replicas and what will unload them, a sentence each."""
    policy = snapshot.policy_of(model)
    known = snapshot.models.get(model)
    said = [f"at least {policy.min_replicas} replicas are kept"] if policy.min_replicas else []
    if policy.spread_all:
        said.append("one replica is kept on every node that its policy selects")
    if known is not None and known.pinned:
        said.append("it is pinned: nothing unloads it but an admin")
    views = [
        (v, node)
        for node in snapshot.views
        for v in node.replicas
        if v.replica.model == model and v.replica.state is ReplicaState.READY
    ]
    for view, node in views:
        stay = stay_of(view, node.node, policy, rules)
        long = "for ever" if stay.seconds == inf else f"{stay.seconds:g} s"
        name = f"{model}#{view.replica.index} on {node.node.name}"
        said.append(f"{name} may be idle {long}: {stay.reason.replace('inf s', 'for ever')}")
    return said
