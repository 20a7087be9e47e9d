"""The replicas that a gateway knows, also by model and by node, so that a change costs what it touches."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from weft_proto.pb.weft.types.v1 import replica_pb2

_Group = dict[str, replica_pb2.Replica]


@dataclass(slots=True)
class Replicas:
    """State: `by_id`, which others only read, and the same replicas in groups."""

    by_id: _Group = field(default_factory=dict)
    _by_model: dict[str, _Group] = field(default_factory=dict)
    _by_node: dict[str, _Group] = field(default_factory=dict)

    def put(self, replica: replica_pb2.Replica) -> None:
        """Take a replica that is new or has changed; it never changes its node or its model."""
        self.by_id[replica.id] = replica
        self._by_model.setdefault(replica.model, {})[replica.id] = replica
        self._by_node.setdefault(replica.node_id, {})[replica.id] = replica

    def drop(self, replica_id: str) -> replica_pb2.Replica | None:
        """Forget a replica; tells which it was."""
        replica = self.by_id.pop(replica_id, None)
        if replica is not None:
            _leave(self._by_model, replica.model, replica_id)
            _leave(self._by_node, replica.node_id, replica_id)
        return replica

    def of_model(self, model: str) -> Iterable[replica_pb2.Replica]:
        """All of a model, in the order in which they became known."""
        return self._by_model.get(model, {}).values()

    def models_on(self, node_id: str) -> set[str]:
        """Models that have a replica on the node."""
        return {r.model for r in self._by_node.get(node_id, {}).values()}


def _leave(groups: dict[str, _Group], key: str, replica_id: str) -> None:
    del groups[key][replica_id]
    if not groups[key]:
        del groups[key]
