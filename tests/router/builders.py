"""Builders of fleet values for tests; every field has a sensible default."""

from typing import Any

from weft_router.fleet.entities import Changes, Device, Model, Node, NodeState, Replica, ReplicaState, Share
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy

GIB = 1 << 30


def a_device(free_gib: float = 8, total_gib: float = 16, **fields: Any) -> Device:
    values = {"id": "cpu", "name": "CPU", "vendor": "cpu"} | fields
    return Device(**values, total_bytes=int(total_gib * GIB), free_bytes=int(free_gib * GIB))


def a_node(name: str = "one", *, free_gib: float = 8, **fields: Any) -> Node:
    values: dict[str, Any] = {
        "id": f"n-{name}",
        "name": name,
        "state": NodeState.HEALTHY,
        "approved": True,
        "address": "127.0.0.1:50051",
        "labels": {"node.name": name},
        "devices": (a_device(free_gib),),
        "engines": ("llama-cpp",),
        "max_replicas_per_model": 1,
        "token_sha256": b"",
    }
    return Node(**(values | fields))


def a_model(name: str = "m", **fields: Any) -> Model:
    values: dict[str, Any] = {
        "backend": "llama-cpp",
        "revision": "rev1",
        "path": "/m.gguf",
        "context_size": 1280,
        "thread_count": 1,
        "slot_count": 4,
        "max_queue_count": 16,
    }
    return Model(name=name, **(values | fields))


def a_replica(replica_id: str = "r-1", **fields: Any) -> Replica:
    values: dict[str, Any] = {
        "model": "m",
        "index": 0,
        "revision": "rev1",
        "node_id": "n-one",
        "address": "127.0.0.1:50052",
        "state": ReplicaState.READY,
        "slot_count": 4,
    }
    return Replica(id=replica_id, **(values | fields))


def a_held_replica(replica_id: str, model: str, gib: float, **fields: Any) -> Replica:
    """A ready replica on a node's only device, measured to hold that much."""
    size = int(gib * GIB)
    share = Share(fields.pop("device", "cpu"), size)
    return a_replica(replica_id, **({"model": model, "shares": (share,), "memory_bytes": size} | fields))


def a_fleet(
    *things: Node | Replica | Model | Policy, now: float = 0.0, heard: float | None = None, sequence: int = 1
) -> Fleet:
    """A fleet of these; every node has reported its load at `heard`, by default just now."""
    fleet = Fleet()
    fleet.apply(
        Changes(
            sequence=sequence,
            nodes=tuple(t for t in things if isinstance(t, Node)),
            replicas=tuple(t for t in things if isinstance(t, Replica)),
            models=tuple(t for t in things if isinstance(t, Model)),
            policies=tuple(t for t in things if isinstance(t, Policy)),
        ),
        now,
    )
    for node_id in fleet.nodes:
        fleet.report(node_id, {}, now if heard is None else heard)
    return fleet
