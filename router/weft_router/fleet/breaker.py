"""When to try again what could not be done: soon at first, seldom after the third time, at once when things differ."""

from dataclasses import dataclass

from weft_router.fleet.entities import NodeState
from weft_router.fleet.views import Snapshot

_PATIENT_FAILURES = 3
_FIRST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """How often something failed in a row, until when it is left alone, and in what circumstances it failed.

    With `placeless` there was no place for it, which looking alone tells: other circumstances give it one.
    """

    failure_count: int
    until: float
    circumstances: int
    placeless: bool = False

    @property
    def gave_up(self) -> bool:
        """Whether this is the failure after which it is left alone for long."""
        return self.failure_count == _PATIENT_FAILURES


def after_failure(
    before: Breaker | None,
    circumstances: int,
    now: float,
    *,
    cooldown_seconds: float,
    placeless: bool = False,
) -> Breaker:
    """What is remembered of one more failure; in other circumstances counting begins anew."""
    again = before is not None and (before.circumstances, before.placeless) == (circumstances, placeless)
    count = before.failure_count + 1 if before is not None and again else 1
    seconds = cooldown_seconds if count >= _PATIENT_FAILURES else _FIRST_SECONDS * 2 ** (count - 1)
    return Breaker(count, now + seconds, circumstances, placeless)


def may_try(breaker: Breaker | None, circumstances: int, now: float) -> bool:
    """Whether it is time, or things are no longer as they were."""
    return breaker is None or now >= breaker.until or breaker.circumstances != circumstances


def circumstances_of(model: str, snapshot: Snapshot, nodes: int) -> int:
    """A number that changes with the model's file, its policy, and the `nodes_mark` of the fleet."""
    policy = snapshot.policy_of(model)
    revision = snapshot.models[model].revision if model in snapshot.models else ""
    selector = frozenset(policy.node_selector.items())
    return hash(
        (revision, selector, policy.min_replicas, policy.max_replicas, policy.spread_all, nodes),
    )


def nodes_mark(snapshot: Snapshot) -> int:
    """A number that changes when a node comes, goes, is well again, or has other labels, engines or limits."""
    return hash(
        frozenset(
            (
                view.node.id,
                view.node.generation,
                view.node.state is NodeState.HEALTHY,
                view.node.max_replicas_per_model,
                view.engines,
                frozenset(view.node.labels.items()),
                tuple(d.total_bytes for d in view.node.devices),
            )
            for view in snapshot.views
        )
    )
