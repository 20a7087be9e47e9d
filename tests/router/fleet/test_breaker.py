"""How long what failed is left alone."""

from typing import Any

import pytest

from tests.router.builders import GIB, a_device, a_fleet, a_held_replica, a_model, a_node, a_replica
from weft_router.fleet.attempts import Look
from weft_router.fleet.breaker import (
    Breaker,
    after_failure,
    circumstances_of,
    may_try,
    nodes_mark,
)
from weft_router.fleet.entities import Model, Node, NodeState, Replica
from weft_router.fleet.policy import Policy
from weft_router.fleet.views import Snapshot


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


def test_want_of_a_place_and_a_load_that_failed_are_counted_apart() -> None:
    breaker = after_failure(failed(2), 1, 100, cooldown_seconds=300, placeless=True)
    assert breaker.failure_count == 1


def places(*things: Node | Model | Policy | Replica, silent: frozenset[str] = frozenset()) -> int:
    """Of a model of 10 GiB."""
    return places_in(a_fleet(*things).snapshot(), silent)


def places_in(snapshot: Snapshot, silent: frozenset[str] = frozenset(), node_id: str = "") -> int:
    look = Look(snapshot, 0, silent, lambda model, snapshot: 10 * GIB)
    return look.circumstances("m", node_id, placeless=True)


@pytest.mark.parametrize(
    "things",
    [
        (a_node(), a_model()),
        (a_node(), a_model(), a_replica("r-2")),
        (a_node(free_gib=12), a_model(), a_replica()),
        (a_node(), a_model(pinned=True), a_replica()),
        (a_node(), a_model(), a_replica(), Policy("other", min_replicas=1)),
    ],
)
def test_whatever_may_make_a_place_changes_the_places(things: tuple[Any, ...]) -> None:
    assert places(*things) != places(a_node(), a_model(), a_replica())


def test_so_does_a_node_that_is_heard_again_but_not_a_request_more_or_less() -> None:
    before = places(a_node(), a_model(), a_replica())
    assert places(a_node(), a_model(), a_replica(), silent=frozenset({"n-one"})) != before
    fleet = a_fleet(a_node(), a_model(), a_replica())
    fleet.report("n-one", {"r-1": 3}, 5)
    assert places_in(fleet.snapshot()) == before


LARGE = (a_node(), a_node("two"), a_model(), a_model("small"))


@pytest.mark.parametrize(
    "lively",
    [
        (a_node(free_gib=6), a_node("two"), a_model(), a_model("small")),
        (*LARGE, a_held_replica("r-5", "small", 1)),
        (*LARGE, a_held_replica("r-5", "small", 1), a_held_replica("r-6", "small", 1, node_id="n-two")),
    ],
)
def test_what_makes_no_place_for_a_large_model_leaves_its_pause_alone(lively: tuple[Any, ...]) -> None:
    """Of 8 GiB that are free anywhere: others come and go, and memory moves."""
    assert places(*lively) == places(*LARGE)


def test_what_happens_where_a_policy_does_not_lead_leaves_the_pause_alone() -> None:
    elsewhere = Policy("m", {"node.name": "one"})
    roomy = (a_node(), a_node("two", free_gib=14), a_model(), elsewhere)
    assert places(*roomy) == places(a_node(), a_node("two"), a_model(), elsewhere)
    assert places(*roomy[:3]) != places(a_node(), a_node("two"), a_model())


def test_one_that_may_go_from_now_on_makes_a_place() -> None:
    """Room for 10 GiB comes from 9 that are free and 3 of a model that is there once more than it needs."""
    things = (
        a_node(free_gib=12),
        a_node("two"),
        a_model(),
        a_model("small"),
        Policy("small", min_replicas=1),
    )
    one = a_held_replica("r-5", "small", 3)
    assert places(*things, one) != places(*things, one, a_replica("r-6", model="small", node_id="n-two"))


def test_a_node_that_a_replica_is_meant_for_is_the_only_one_that_counts() -> None:
    before, after = (a_fleet(a_node(), a_node("two", free_gib=gib), a_model()).snapshot() for gib in (8, 14))
    assert places_in(before, node_id="n-one") == places_in(after, node_id="n-one")
    assert places_in(before, node_id="n-two") != places_in(after, node_id="n-two")
