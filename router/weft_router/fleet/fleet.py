"""The fleet as one router knows it: what PostgreSQL holds, plus who was heard from.

State: everything in `Fleet`. Its only writers are `apply` (durable changes, in the order of their sequences) and
`hear` (liveness, which is never stored). All reads are synchronous and need no lock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from weft_router.fleet.entities import Changes, Model, Node, NodeState, Replica, ReplicaState


@dataclass(slots=True)
class Fleet:
    """Nodes, replicas and models by identity; `heard` is seconds of the router's monotonic clock."""

    sequence: int = 0
    nodes: dict[str, Node] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)

    def apply(self, changes: Changes) -> None:
        """Take over durable changes; those that are known already do no harm."""
        self.nodes.update((n.id, n) for n in changes.nodes)
        self.replicas.update((r.id, r) for r in changes.replicas)
        self.models.update((m.name, m) for m in changes.models)
        for node_id in changes.gone_nodes:
            self.nodes.pop(node_id, None)
            self.heard.pop(node_id, None)
        for replica_id in changes.gone_replicas:
            self.replicas.pop(replica_id, None)
        for name in changes.gone_models:
            self.models.pop(name, None)
        self.sequence = max(self.sequence, changes.sequence)

    def hear(self, node_id: str, now: float) -> None:
        """Note that a node was heard from."""
        self.heard[node_id] = now

    def everything(self) -> Changes:
        """The whole fleet as one change."""
        return Changes(
            sequence=self.sequence,
            nodes=tuple(self.nodes.values()),
            replicas=tuple(self.replicas.values()),
            models=tuple(self.models.values()),
        )

    def node_named(self, name: str) -> Node | None:
        """The node of that name."""
        return next((n for n in self.nodes.values() if n.name == name), None)

    def replicas_on(self, node_id: str) -> list[Replica]:
        """Every replica on a node, in any state."""
        return [r for r in self.replicas.values() if r.node_id == node_id]

    def ready_replicas(self, model: str) -> list[Replica]:
        """Replicas that may serve the model's current revision: ready, on a healthy node."""
        known = self.models.get(model)
        return [r for r in self._of(model) if known and r.revision == known.revision and self._serves(r)]

    def _of(self, model: str) -> Iterable[Replica]:
        return (r for r in self.replicas.values() if r.model == model)

    def _serves(self, replica: Replica) -> bool:
        node = self.nodes.get(replica.node_id)
        return replica.state is ReplicaState.READY and node is not None and node.state is NodeState.HEALTHY
