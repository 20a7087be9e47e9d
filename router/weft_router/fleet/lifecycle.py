"""Which moves exist in the lives of nodes and replicas; a move that is not listed is impossible."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from weft_router.fleet.entities import NodeState, ReplicaState


class NodeEvent(StrEnum):
    """What can happen to a node."""

    REGISTERED = "registered"
    APPROVED = "approved"
    # Its heartbeats, by the age of the last one on the clock of who received it.
    HEARD = "heard"
    LATE = "late"
    LOST = "lost"
    # Its worker says that it goes.
    LEFT = "left"
    DRAIN_ASKED = "drain_asked"
    RESUMED = "resumed"


class ReplicaEvent(StrEnum):
    """What can happen to a replica."""

    LOADED = "loaded"
    UNLOAD_ASKED = "unload_asked"
    BROKE = "broke"


class ImpossibleMove(Exception):
    """A programmer's mistake: an event that this state does not know; `story` is what happened before."""

    def __init__(self, message: str, story: str) -> None:
        super().__init__(f"{message}: {story}")
        self.story = story


NODE_MOVES: Mapping[tuple[NodeState, NodeEvent], NodeState] = {
    # Only Approve leads out of pending: a silent or leaving node that nobody let in stays what it is.
    (NodeState.PENDING, NodeEvent.REGISTERED): NodeState.PENDING,
    (NodeState.PENDING, NodeEvent.HEARD): NodeState.PENDING,
    (NodeState.PENDING, NodeEvent.LATE): NodeState.PENDING,
    (NodeState.PENDING, NodeEvent.LOST): NodeState.PENDING,
    (NodeState.PENDING, NodeEvent.LEFT): NodeState.PENDING,
    (NodeState.PENDING, NodeEvent.APPROVED): NodeState.HEALTHY,
    (NodeState.HEALTHY, NodeEvent.REGISTERED): NodeState.HEALTHY,
    (NodeState.HEALTHY, NodeEvent.HEARD): NodeState.HEALTHY,
    (NodeState.HEALTHY, NodeEvent.LATE): NodeState.UNHEALTHY,
    (NodeState.HEALTHY, NodeEvent.LOST): NodeState.OFFLINE,
    (NodeState.HEALTHY, NodeEvent.LEFT): NodeState.OFFLINE,
    (NodeState.HEALTHY, NodeEvent.DRAIN_ASKED): NodeState.DRAINING,
    (NodeState.HEALTHY, NodeEvent.RESUMED): NodeState.HEALTHY,
    (NodeState.UNHEALTHY, NodeEvent.REGISTERED): NodeState.HEALTHY,
    (NodeState.UNHEALTHY, NodeEvent.HEARD): NodeState.HEALTHY,
    (NodeState.UNHEALTHY, NodeEvent.LATE): NodeState.UNHEALTHY,
    (NodeState.UNHEALTHY, NodeEvent.LOST): NodeState.OFFLINE,
    (NodeState.UNHEALTHY, NodeEvent.LEFT): NodeState.OFFLINE,
    (NodeState.UNHEALTHY, NodeEvent.DRAIN_ASKED): NodeState.DRAINING,
    (NodeState.UNHEALTHY, NodeEvent.RESUMED): NodeState.UNHEALTHY,
    (NodeState.OFFLINE, NodeEvent.REGISTERED): NodeState.HEALTHY,
    # A partition that healed. A worker that left cannot be heard: leaving voids its token.
    (NodeState.OFFLINE, NodeEvent.HEARD): NodeState.HEALTHY,
    (NodeState.OFFLINE, NodeEvent.LATE): NodeState.OFFLINE,
    (NodeState.OFFLINE, NodeEvent.LOST): NodeState.OFFLINE,
    (NodeState.OFFLINE, NodeEvent.LEFT): NodeState.OFFLINE,
    (NodeState.OFFLINE, NodeEvent.DRAIN_ASKED): NodeState.DRAINING,
    # A drain was somebody's wish: neither silence nor a restarted worker undoes it.
    (NodeState.DRAINING, NodeEvent.REGISTERED): NodeState.DRAINING,
    (NodeState.DRAINING, NodeEvent.HEARD): NodeState.DRAINING,
    (NodeState.DRAINING, NodeEvent.LATE): NodeState.DRAINING,
    (NodeState.DRAINING, NodeEvent.LOST): NodeState.DRAINING,
    (NodeState.DRAINING, NodeEvent.LEFT): NodeState.DRAINING,
    (NodeState.DRAINING, NodeEvent.DRAIN_ASKED): NodeState.DRAINING,
    # Whether it is well is for its next heartbeat to say.
    (NodeState.DRAINING, NodeEvent.RESUMED): NodeState.UNHEALTHY,
}

REPLICA_MOVES: Mapping[tuple[ReplicaState, ReplicaEvent], ReplicaState] = {
    (ReplicaState.LOADING, ReplicaEvent.LOADED): ReplicaState.READY,
    (ReplicaState.LOADING, ReplicaEvent.UNLOAD_ASKED): ReplicaState.UNLOADING,
    (ReplicaState.LOADING, ReplicaEvent.BROKE): ReplicaState.FAILED,
    (ReplicaState.READY, ReplicaEvent.UNLOAD_ASKED): ReplicaState.UNLOADING,
    (ReplicaState.READY, ReplicaEvent.BROKE): ReplicaState.FAILED,
    (ReplicaState.UNLOADING, ReplicaEvent.UNLOAD_ASKED): ReplicaState.UNLOADING,
    # Its load ended after somebody had asked for its end: it never serves.
    (ReplicaState.UNLOADING, ReplicaEvent.LOADED): ReplicaState.UNLOADING,
    (ReplicaState.UNLOADING, ReplicaEvent.BROKE): ReplicaState.FAILED,
}

_S = TypeVar("_S", NodeState, ReplicaState)
_E = TypeVar("_E", NodeEvent, ReplicaEvent)


def move_node(state: NodeState, event: NodeEvent, story: str) -> NodeState:
    """The state after `event`; `story` names the node and its past in the error."""
    return _move(NODE_MOVES, "node", state, event, story)


def move_replica(state: ReplicaState, event: ReplicaEvent, story: str) -> ReplicaState:
    """The state after `event`; `story` names the replica and its past in the error."""
    return _move(REPLICA_MOVES, "replica", state, event, story)


def _move(table: Mapping[tuple[_S, _E], _S], what: str, state: _S, event: _E, story: str) -> _S:
    try:
        return table[state, event]
    except KeyError:
        raise ImpossibleMove(f"{event} cannot happen to a {state} {what}", story) from None
