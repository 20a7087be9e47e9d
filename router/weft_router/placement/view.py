"""Turn the fleet and the loads under way into what placement decides on."""

from collections.abc import Mapping

from weft_router.fleet.entities import Device, Model, Node, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.placement.place import Candidate, Request

# What a backend process needs beside the weights: the interpreter, the engine's buffers, the KV cache of a small model.
_PROCESS_BYTES = 64 << 20


def request_for(model: Model) -> Request:
    """What the model needs; unknown where the size of its weights is."""
    return Request(model, model.size_bytes + _PROCESS_BYTES if model.size_bytes else 0)


def candidates(fleet: Fleet, reserved: Mapping[str, int]) -> list[Candidate]:
    """Every node of the fleet; `reserved` holds bytes by node id of loads that heartbeats do not show yet."""
    return [
        Candidate(
            node=node,
            replicas=tuple(r for r in fleet.replicas_on(node.id) if r.state is not ReplicaState.FAILED),
            free_bytes=_free(node, reserved.get(node.id, 0)),
        )
        for node in fleet.nodes.values()
    ]


def _free(node: Node, reserved: int) -> int | None:
    known = [d for d in node.devices if d.total_bytes]
    return max(0, _roomiest(known) - reserved) if known else None


def _roomiest(devices: list[Device]) -> int:
    """A model sits on one device until splitting over several is built."""
    return max(d.free_bytes for d in devices)
