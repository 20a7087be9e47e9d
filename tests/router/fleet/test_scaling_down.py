"""Fewer replicas, where fewer would have done: whoever spreads its requests over all of them keeps none for that."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from weft_router.fleet.entities import Changes, NodeState
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow, Remembered, ScalingRules, Shrink, Step, next_step

RULES = ScalingRules(busy_seconds=10, idle_seconds=300)
SLOTS = 4


class Crowd:
    """A model that is looked at every second, with as many requests at once as `asks` says; steps are done at once.

    Requests are spread as replica choice does it: to the one with the fewest, then to the longest unused.
    """

    def __init__(self, count: int, policy: Policy, asks: Callable[[int], int]) -> None:
        nodes = [a_node(f"w{n}") for n in range(count)]
        replicas = [a_replica(f"r-{n}", node_id=f"n-w{n}", slot_count=SLOTS) for n in range(count)]
        self.fleet = a_fleet(*nodes, *replicas, a_model(), policy)
        self.asks, self.now, self.sequence = asks, 0, 1
        self.remembered, self.steps = Remembered(), list[tuple[int, Step]]()
        self.waited_for: Callable[[int], bool] = lambda now: False

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self._spread(self.asks(self.now))
            step, self.remembered = next_step(
                "m",
                self.fleet.snapshot(),
                self.remembered,
                now=self.now,
                rules=RULES,
                waited_for=self.waited_for(self.now),
            )
            if step is not None:
                self.steps.append((self.now, step))
                self._do(step)

    @property
    def count(self) -> int:
        return len(self.fleet.replicas)

    def node(self, name: str, state: NodeState) -> None:
        self.sequence += 1
        node = replace(self.fleet.nodes[f"n-{name}"], state=state)
        self.fleet.apply(Changes(sequence=self.sequence, nodes=(node,)), self.now)

    def _spread(self, requests: int) -> None:
        views = [v for n in self.fleet.snapshot().views if n.healthy for v in n.replicas]
        counts = dict.fromkeys((v.replica.id for v in views), 0)
        used = {v.replica.id: v.last_used for v in views}
        for _ in range(min(requests, SLOTS * len(views))):
            counts[min(counts, key=lambda i: (counts[i], used[i]))] += 1
        for view in views:
            replica = view.replica
            self.fleet.report(replica.node_id, {replica.id: counts[replica.id]}, self.now)

    def _do(self, step: Step) -> None:
        self.sequence += 1
        if isinstance(step, Shrink):
            self.fleet.apply(Changes(sequence=self.sequence, gone_replicas=(step.replica.id,)), self.now)
            return
        taken = {r.node_id for r in self.fleet.replicas.values()}
        free = next(
            n for n in self.fleet.nodes.values() if n.id not in taken and n.state is NodeState.HEALTHY
        )
        more = a_replica(f"r-{self.now}", node_id=free.id, slot_count=SLOTS)
        self.fleet.apply(Changes(sequence=self.sequence, replicas=(more,)), self.now)


def trickle(now: int) -> int:
    """One request of two seconds every ten."""
    return int(now % 10 < 2)


def test_under_a_trickle_all_but_one_go_one_every_five_minutes_and_none_comes_back() -> None:
    crowd = Crowd(6, Policy("m", max_replicas=6), trickle)
    crowd.run(299)
    assert crowd.steps == []
    crowd.run(7200)
    assert (crowd.count, len(crowd.steps)) == (1, 5)
    assert all(later - sooner >= 300 for (sooner, _), (later, _) in pairwise(crowd.steps))
    reasons = {step.reason for _, step in crowd.steps}
    assert "at most 1 requests at once for 300 s: 5 replicas suffice" in reasons


def test_the_minimum_stays() -> None:
    crowd = Crowd(6, Policy("m", min_replicas=3), trickle)
    crowd.run(1000)
    assert crowd.count == 3


@pytest.mark.parametrize(("most", "left"), [(3, 1), (4, 2), (7, 2), (8, 3), (19, 5), (20, 6)])
def test_as_many_stay_as_are_never_all_busy_at_the_highest_tide_of_five_minutes(most: int, left: int) -> None:
    crowd = Crowd(6, Policy("m", max_replicas=6), lambda now: most if now % 290 == 0 else 1)
    crowd.run(3600)
    assert crowd.count == left
    assert not [step for _, step in crowd.steps if isinstance(step, Grow)]


def test_while_somebody_has_waited_within_five_minutes_nobody_knows_how_many_are_needed() -> None:
    crowd = Crowd(6, Policy("m", max_replicas=6), trickle)
    crowd.waited_for = lambda now: now == 400
    crowd.run(299)
    crowd.waited_for = lambda now: now == 300
    crowd.run(300)
    assert crowd.count == 6
    crowd.run(10)
    assert crowd.count == 5


def test_who_says_nothing_may_be_full() -> None:
    crowd = Crowd(2, Policy("m", max_replicas=2), trickle)
    crowd.run(290)
    spread, crowd._spread = crowd._spread, lambda requests: None  # type: ignore[method-assign]
    crowd.run(20)
    crowd._spread = spread  # type: ignore[method-assign]
    crowd.run(280)
    assert crowd.count == 2
    crowd.run(60)
    assert crowd.count == 1


def test_one_node_that_comes_and_goes_keeps_no_more_than_itself() -> None:
    crowd = Crowd(6, Policy("m", max_replicas=6), trickle)
    for _ in range(10):
        crowd.run(100)
        crowd.node("w5", NodeState.UNHEALTHY)
        crowd.run(60)
        crowd.node("w5", NodeState.HEALTHY)
    assert crowd.count == 2
    assert not [step for _, step in crowd.steps if isinstance(step, Grow)]


def test_a_minimum_on_nodes_that_come_and_go_has_none_loaded_and_unloaded_each_time() -> None:
    crowd = Crowd(3, Policy("m", min_replicas=2), trickle)
    crowd.run(400)
    assert crowd.count == 2
    (gone,) = {"w0", "w1", "w2"} - {r.node_id.removeprefix("n-") for r in crowd.fleet.replicas.values()}
    late = next(name for name in ("w0", "w1", "w2") if name != gone)
    crowd.steps.clear()
    for _ in range(10):
        crowd.node(late, NodeState.UNHEALTHY)
        crowd.run(40)
        crowd.node(late, NodeState.HEALTHY)
        crowd.run(200)
    assert [type(step) for _, step in crowd.steps] == [Grow]


def test_after_a_gap_in_looking_five_minutes_begin_anew() -> None:
    crowd = Crowd(6, Policy("m", max_replicas=6), trickle)
    crowd.run(290)
    crowd.now += 100
    crowd.run(299)
    assert crowd.count == 6
    crowd.run(10)
    assert crowd.count == 5
