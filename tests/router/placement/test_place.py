"""Placement: who comes into question, who is preferred, and what a refusal says."""

from typing import Any

import pytest

from tests.router.builders import GIB, a_model, a_node, a_replica
from weft_router.fleet.entities import Node, NodeState
from weft_router.placement.place import Candidate, Placed, Rejected, Request, place


def candidate(node: Node | None = None, *, free_gib: float | None = 8, **fields: Any) -> Candidate:
    free = None if free_gib is None else int(free_gib * GIB)
    return Candidate(**({"node": node or a_node(), "replicas": (), "free_bytes": free} | fields))


def request(need_gib: float = 1, **fields: Any) -> Request:
    return Request(a_model(**fields), int(need_gib * GIB))


def chosen(decision: Placed | Rejected) -> str:
    assert isinstance(decision, Placed)
    return decision.node.name


def test_no_node_at_all_is_refused_with_that_reason() -> None:
    decision = place(request(), [])
    assert isinstance(decision, Rejected)
    assert decision.summary() == "no node has joined yet"


@pytest.mark.parametrize("state", [s for s in NodeState if s is not NodeState.HEALTHY])
def test_only_healthy_nodes_receive_models(state: NodeState) -> None:
    decision = place(request(), [candidate(a_node(state=state))])
    assert decision == Rejected({"one": str(state)})


def test_a_node_without_the_engine_is_passed_over() -> None:
    decision = place(request(backend="exllamav2"), [candidate()])
    assert decision == Rejected({"one": "without engine exllamav2"})


def test_a_model_that_is_known_not_to_fit_is_not_tried() -> None:
    decision = place(request(9), [candidate(free_gib=8)])
    assert decision == Rejected({"one": "without enough free memory"})


def test_a_node_of_unknown_memory_is_tried_but_comes_last() -> None:
    unknown = candidate(a_node("unknown"), free_gib=None)
    busy = candidate(a_node("busy"), replicas=(a_replica(model="other"),), in_flight_count=9)
    assert chosen(place(request(), [unknown])) == "unknown"
    assert chosen(place(request(), [unknown, busy])) == "busy"


def test_idle_comes_before_busy_whatever_their_memory() -> None:
    idle = candidate(a_node("idle"), free_gib=2)
    busy = candidate(a_node("busy"), free_gib=9, replicas=(a_replica(model="other"),))
    assert chosen(place(request(), [busy, idle])) == "idle"


def test_least_loaded_comes_before_most_free() -> None:
    calm = candidate(a_node("calm"), free_gib=2, replicas=(a_replica(model="x"),), in_flight_count=1)
    roomy = candidate(a_node("roomy"), free_gib=9, replicas=(a_replica(model="y"),), in_flight_count=2)
    assert chosen(place(request(), [roomy, calm])) == "calm"


def test_most_free_memory_decides_between_equals() -> None:
    nodes = [candidate(a_node("small"), free_gib=2), candidate(a_node("large"), free_gib=4)]
    assert chosen(place(request(), nodes)) == "large"


def test_replica_slots_of_a_node_are_bounded_and_the_lowest_free_index_is_taken() -> None:
    node = a_node(max_replicas_per_model=3)
    taken = (a_replica("r-0", index=0), a_replica("r-2", index=2))
    decision = place(request(), [candidate(node, replicas=taken)])
    assert isinstance(decision, Placed)
    assert decision.replica_index == 1
    full = (*taken, a_replica("r-1", index=1))
    assert place(request(), [candidate(node, replicas=full)]) == Rejected(
        {"one": "with all replica slots taken"}
    )


def test_a_refusal_counts_nodes_by_reason() -> None:
    nodes = [
        candidate(a_node("a", state=NodeState.DRAINING)),
        candidate(a_node("b"), free_gib=0),
        candidate(a_node("c"), free_gib=0),
    ]
    decision = place(request(), nodes)
    assert isinstance(decision, Rejected)
    assert decision.summary() == "3 nodes: 1 draining, 2 without enough free memory"


def test_a_placement_tells_why_other_nodes_were_passed_over() -> None:
    decision = place(request(), [candidate(a_node("a")), candidate(a_node("b"), free_gib=0)])
    assert isinstance(decision, Placed)
    assert decision.excluded == {"b": "without enough free memory"}
