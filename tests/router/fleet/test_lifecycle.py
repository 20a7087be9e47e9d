"""Moves that exist, and that others are refused with the story of who was to make them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft_router.fleet.entities import NodeState, ReplicaState
from weft_router.fleet.lifecycle import (
    NODE_MOVES,
    REPLICA_MOVES,
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


@given(st.lists(st.sampled_from([e for e in NodeEvent if e is not NodeEvent.APPROVED])))
def test_no_sequence_of_events_without_approval_leads_out_of_pending(events: list[NodeEvent]) -> None:
    state = NodeState.PENDING
    for event in events:
        state = NODE_MOVES.get((state, event), state)
    assert state is NodeState.PENDING


def test_a_node_that_comes_back_is_healthy_again_without_approval() -> None:
    assert move_node(NodeState.OFFLINE, NodeEvent.REGISTERED, "") is NodeState.HEALTHY


@pytest.mark.parametrize("event", [NodeEvent.REGISTERED, NodeEvent.LATE, NodeEvent.LOST, NodeEvent.HEARD])
def test_neither_silence_nor_a_restarted_worker_undoes_a_drain(event: NodeEvent) -> None:
    assert move_node(NodeState.DRAINING, event, "") is NodeState.DRAINING


def test_every_state_knows_every_heartbeat() -> None:
    heartbeats = {NodeEvent.HEARD, NodeEvent.LATE, NodeEvent.LOST}
    assert {(s, e) for s in NodeState for e in heartbeats} <= NODE_MOVES.keys()


def test_a_loaded_replica_is_ready() -> None:
    assert move_replica(ReplicaState.LOADING, ReplicaEvent.LOADED, "") is ReplicaState.READY


def test_a_replica_that_was_told_to_go_while_it_loaded_never_serves() -> None:
    state = move_replica(ReplicaState.LOADING, ReplicaEvent.UNLOAD_ASKED, "")
    assert move_replica(state, ReplicaEvent.LOADED, "") is ReplicaState.UNLOADING


def test_a_failed_replica_comes_back_by_nothing() -> None:
    assert not [state for state, _ in REPLICA_MOVES if state is ReplicaState.FAILED]


def test_an_impossible_move_tells_whose_it_was_and_its_story() -> None:
    with pytest.raises(ImpossibleMove, match="gpu-1"):
        move_node(NodeState.OFFLINE, NodeEvent.APPROVED, "gpu-1")
    with pytest.raises(
        ImpossibleMove, match="loaded cannot happen to a failed replica: r-9: #3 loading"
    ) as caught:
        move_replica(ReplicaState.FAILED, ReplicaEvent.LOADED, "r-9: #3 loading, #4 failed")
    assert caught.value.story == "r-9: #3 loading, #4 failed"
