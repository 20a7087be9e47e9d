"""Each invariant sees what it is there for, and nothing where all is well."""

from dataclasses import replace
from typing import Any

import pytest

from tests.router.builders import GIB, a_fleet, a_held_replica, a_model, a_node, a_replica
from weft_router.fleet.entities import NodeState, ReplicaState, Share
from weft_router.fleet.invariants import broken, duplicate_loads, shared_loads

GOOD: tuple[Any, ...] = (
    a_node(),
    a_model(),
    a_held_replica("r-1", "m", 8),
    a_held_replica("r-2", "m", 8, index=1),
)


def test_a_fleet_in_order_breaks_nothing() -> None:
    assert broken(a_fleet(*GOOD).snapshot()) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((*GOOD, a_held_replica("r-3", "n", 1)), ["one: cpu is over-committed by 1073741824 bytes"]),
        ((a_node(), a_replica("r-1"), a_replica("r-2")), ["one: m#0 is there 2 times"]),
        (
            (a_node(state=NodeState.PENDING, approved=False), a_replica()),
            ["one: runs 1 replicas without approval"],
        ),
    ],
)
def test_what_is_wrong_is_named(wrong: tuple[Any, ...], words: list[str]) -> None:
    assert broken(a_fleet(*wrong).snapshot()) == words


def test_a_load_that_has_not_begun_holds_nothing() -> None:
    waiting = a_replica(
        "r-3", model="n", state=ReplicaState.LOADING, shares=(Share("cpu", GIB),), begun=False
    )
    assert broken(a_fleet(*GOOD, waiting).snapshot()) == []
    assert broken(a_fleet(*GOOD, replace(waiting, begun=True)).snapshot()) != []


def test_a_load_has_one_owner() -> None:
    assert list(shared_loads([("l-1", "router-0"), ("l-2", "router-1"), ("l-1", "router-0")])) == []
    owners = [("l-1", "router-0"), ("l-1", "router-1")]
    assert list(shared_loads(owners)) == ["load l-1 has owners router-0, router-1"]


def test_a_model_is_not_loaded_more_often_than_asked() -> None:
    twice = [a_replica(f"r-{i}", index=i, state=ReplicaState.LOADING) for i in range(2)]
    assert list(duplicate_loads(twice, {"m": 2})) == []
    assert list(duplicate_loads(twice, {})) == ["m is being loaded 2 times, 1 asked for"]
