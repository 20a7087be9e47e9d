"""Which moves exist in the lives of nodes and replicas; a move that is not listed is impossible."""

from collections.abc import Mapping
from enum import StrEnum

from weft_router.fleet.entities import NodeState, ReplicaState


class NodeEvent(StrEnum):
    """What can happen to a node."""

    REGISTERED = "registered"
    APPROVED = "approved"


class ReplicaEvent(StrEnum):
    """What can happen to a replica."""

    LOADED = "loaded"
    UNLOAD_ASKED = "unload_asked"
    BROKE = "broke"


class ImpossibleMove(Exception):
    """A programmer's mistake: an event that this state does not know."""


NODE_MOVES: Mapping[tuple[NodeState, NodeEvent], NodeState] = {
    # Only Approve leads out of pending.
    (NodeState.PENDING, NodeEvent.REGISTERED): NodeState.PENDING,
    (NodeState.PENDING, NodeEvent.APPROVED): NodeState.HEALTHY,
    (NodeState.HEALTHY, NodeEvent.REGISTERED): NodeState.HEALTHY,
    (NodeState.HEALTHY, NodeEvent.APPROVED): NodeState.HEALTHY,
    (NodeState.UNHEALTHY, NodeEvent.REGISTERED): NodeState.HEALTHY,
    (NodeState.OFFLINE, NodeEvent.REGISTERED): NodeState.HEALTHY,
    # A drain was somebody's wish: a restarted worker does not undo it.
    (NodeState.DRAINING, NodeEvent.REGISTERED): NodeState.DRAINING,
}

REPLICA_MOVES: Mapping[tuple[ReplicaState, ReplicaEvent], ReplicaState] = {
    (ReplicaState.LOADING, ReplicaEvent.LOADED): ReplicaState.READY,
    (ReplicaState.LOADING, ReplicaEvent.UNLOAD_ASKED): ReplicaState.UNLOADING,
    (ReplicaState.LOADING, ReplicaEvent.BROKE): ReplicaState.FAILED,
    (ReplicaState.READY, ReplicaEvent.UNLOAD_ASKED): ReplicaState.UNLOADING,
    (ReplicaState.READY, ReplicaEvent.BROKE): ReplicaState.FAILED,
    (ReplicaState.UNLOADING, ReplicaEvent.BROKE): ReplicaState.FAILED,
}


def move_node(state: NodeState, event: NodeEvent, story: str) -> NodeState:
    """The state after `event`; `story` names the node and its past in the error."""
    try:
        return NODE_MOVES[state, event]
    except KeyError:
        raise ImpossibleMove(f"{event} cannot happen to a {state} node: {story}") from None


def move_replica(state: ReplicaState, event: ReplicaEvent, story: str) -> ReplicaState:
    """The state after `event`; `story` names the replica and its past in the error."""
    try:
        return REPLICA_MOVES[state, event]
    except KeyError:
        raise ImpossibleMove(f"{event} cannot happen to a {state} replica: {story}") from None
