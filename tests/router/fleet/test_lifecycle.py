"""Moves that exist, and that others are refused with the story of who was to make them."""

import pytest

from weft_router.fleet.entities import NodeState, ReplicaState
from weft_router.fleet.lifecycle import (
    NODE_MOVES,
    ImpossibleMove,
    NodeEvent,
    ReplicaEvent,
    move_node,
    move_replica,
)


def test_only_approval_leads_out_of_pending() -> None:
    out = {
        event for (state, event), to in NODE_MOVES.items() if state is NodeState.PENDING and to is not state
    }
    assert out == {NodeEvent.APPROVED}


def test_nothing_leads_into_pending_again() -> None:
    into = {state for (state, _), to in NODE_MOVES.items() if to is NodeState.PENDING}
    assert into == {NodeState.PENDING}


def test_a_node_that_comes_back_is_healthy_again_without_approval() -> None:
    assert move_node(NodeState.OFFLINE, NodeEvent.REGISTERED, "") is NodeState.HEALTHY


def test_a_restarted_worker_does_not_undo_a_drain() -> None:
    assert move_node(NodeState.DRAINING, NodeEvent.REGISTERED, "") is NodeState.DRAINING


def test_a_loaded_replica_is_ready() -> None:
    assert move_replica(ReplicaState.LOADING, ReplicaEvent.LOADED, "") is ReplicaState.READY


def test_an_impossible_move_tells_whose_it_was() -> None:
    with pytest.raises(ImpossibleMove, match="gpu-1"):
        move_node(NodeState.OFFLINE, NodeEvent.APPROVED, "gpu-1")
    with pytest.raises(ImpossibleMove, match="r-9"):
        move_replica(ReplicaState.FAILED, ReplicaEvent.LOADED, "r-9")
