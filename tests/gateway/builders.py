"""Builders of fleet updates for tests."""

from typing import Any

from weft_common.clock import ManualClock
from weft_gateway.fleet_view import FleetView
from weft_proto.pb.weft.routing.v1 import routing_service_pb2
from weft_proto.pb.weft.types.v1 import model_pb2, node_pb2, policy_pb2, replica_pb2


def a_node(node_id: str = "n-1", **fields: Any) -> node_pb2.Node:
    return node_pb2.Node(**({"id": node_id, "name": node_id, "state": "NODE_STATE_HEALTHY"} | fields))


def a_replica(replica_id: str = "r-1", **fields: Any) -> replica_pb2.Replica:
    values = {
        "model": "m",
        "revision": "rev1",
        "node_id": "n-1",
        "address": "127.0.0.1:7",
        "state": "REPLICA_STATE_READY",
        "slot_count": 4,
    }
    return replica_pb2.Replica(id=replica_id, **(values | fields))


def a_model(name: str = "m", **fields: Any) -> model_pb2.Model:
    return model_pb2.Model(name=name, **({"revision": "rev1", "created_seconds": 7} | fields))


def a_policy(model: str = "m", **fields: Any) -> policy_pb2.Policy:
    return policy_pb2.Policy(model_name=model, **fields)


def an_update(
    sequence: int = 1, *, heard: tuple[str, ...] = (), **fields: Any
) -> routing_service_pb2.WatchFleetResponse:
    update = routing_service_pb2.WatchFleetResponse(sequence=sequence, **fields)
    for node_id in heard:
        update.heard.add(node_id=node_id).age.FromNanoseconds(0)
    return update


def a_full_update(sequence: int = 1, **fields: Any) -> routing_service_pb2.WatchFleetResponse:
    values = {"nodes": [a_node()], "replicas": [a_replica()], "models": [a_model()], "heard": ("n-1",)}
    return an_update(sequence, full=True, **(values | fields))


def a_view(clock: ManualClock | None = None, gateway_id: str = "g-1") -> FleetView:
    view = FleetView(clock or ManualClock(), gateway_id)
    view.watched = True
    return view
