"""How long what failed is left alone."""

from typing import Any

import pytest

from tests.router.builders import a_device, a_fleet, a_model, a_node
from weft_router.fleet.breaker import Breaker, after_failure, circumstances_of, may_try, nodes_mark
from weft_router.fleet.entities import Model, Node, NodeState
from weft_router.fleet.policy import Policy


def failed(times: int, circumstances: int = 1, now: float = 100) -> Breaker:
    breaker: Breaker | None = None
    for _ in range(times):
        breaker = after_failure(breaker, circumstances, now, cooldown_seconds=300)
    assert breaker is not None
    return breaker


@pytest.mark.parametrize(("times", "seconds"), [(1, 2), (2, 4), (3, 300), (4, 300)])
def test_the_third_failure_in_a_row_is_followed_by_a_long_pause(times: int, seconds: float) -> None:
    breaker = failed(times)
    assert not may_try(breaker, 1, 100 + seconds - 0.1)
    assert may_try(breaker, 1, 100 + seconds)
    assert breaker.gave_up == (times == 3)


def test_in_other_circumstances_it_is_tried_at_once_and_counted_anew() -> None:
    breaker = failed(3)
    assert may_try(breaker, 2, 100)
    assert after_failure(breaker, 2, 100, cooldown_seconds=300) == Breaker(1, 102, 2)


def test_what_never_failed_may_be_tried() -> None:
    assert may_try(None, 1, 0)


def mark(*things: Node | Model | Policy) -> int:
    snapshot = a_fleet(*things).snapshot()
    return circumstances_of("m", snapshot, nodes_mark(snapshot))


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": {"zone": "eu"}},
        {"state": NodeState.UNHEALTHY},
        {"engines": ("vllm",)},
        {"generation": 2},
        {"max_replicas_per_model": 2},
        {"devices": (a_device(total_gib=32),)},
    ],
)
def test_a_node_that_becomes_another_changes_the_circumstances(fields: dict[str, Any]) -> None:
    assert mark(a_node(), a_model()) != mark(a_node(**fields), a_model())


def test_so_do_a_node_more_another_file_and_another_policy_but_not_free_memory() -> None:
    before = mark(a_node(), a_model())
    assert mark(a_node(), a_node("two"), a_model()) != before
    assert mark(a_node(), a_model(revision="rev2")) != before
    assert mark(a_node(), a_model(), Policy("m", min_replicas=1)) != before
    assert mark(a_node(free_gib=1), a_model()) == before
