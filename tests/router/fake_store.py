"""A store in memory for tests; it passes the contract suite that PostgreSQL passes."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from weft_common.errors import PartUnavailable
from weft_router.fleet.entities import Changes, Model, Node, Replica
from weft_router.store.protocol import PlaceTaken


@dataclass
class FakeStore:
    """Rows with their sequence; None in place of a value means gone. `down` makes every call fail."""

    sequence: int = 0
    down: bool = False
    fleet_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    nodes: dict[str, tuple[int, Node]] = field(default_factory=dict)
    replicas: dict[str, tuple[int, Replica | None]] = field(default_factory=dict)
    models: dict[str, tuple[int, Model | None]] = field(default_factory=dict)

    async def prepare(self) -> str:
        self._reach()
        return self.fleet_id

    async def read_changes(self, after: int) -> Changes:
        self._reach()
        nodes = {k: v for k, (s, v) in self.nodes.items() if s > after}
        replicas = {k: v for k, (s, v) in self.replicas.items() if s > after}
        models = {k: v for k, (s, v) in self.models.items() if s > after}
        newest = [s for rows in (self.nodes, self.replicas, self.models) for s, _ in rows.values()]  # type: ignore[attr-defined]
        return Changes(
            sequence=max([after, *newest]),
            nodes=tuple(nodes.values()),
            replicas=tuple(v for v in replicas.values() if v),
            models=tuple(v for v in models.values() if v),
            gone_replicas=tuple(k for k, v in replicas.items() if v is None),
            gone_models=tuple(k for k, v in models.items() if v is None),
        )

    async def put_node(self, node: Node) -> None:
        self.nodes[node.id] = (self._next(), node)

    async def put_replica(self, replica: Replica) -> None:
        def place(r: Replica) -> tuple[str, str, int]:
            return (r.node_id, r.model, r.index)

        if any(r and r.id != replica.id and place(r) == place(replica) for _, r in self.replicas.values()):
            self._reach()
            raise PlaceTaken(replica.id)
        self.replicas[replica.id] = (self._next(), replica)

    async def remove_replicas(self, replica_ids: list[str]) -> None:
        number = self._next()
        for replica_id in replica_ids:
            if self.replicas.get(replica_id, (0, None))[1] is not None:
                self.replicas[replica_id] = (number, None)

    async def put_models(self, models: list[Model], gone: list[str]) -> None:
        number = self._next()
        self.models.update((m.name, (number, m)) for m in models)
        self.models.update((name, (number, None)) for name in gone if self.models.get(name, (0, None))[1])

    async def purge(self, older_than: timedelta) -> None:
        self._reach()

    def _next(self) -> int:
        self._reach()
        self.sequence += 1
        return self.sequence

    def _reach(self) -> None:
        if self.down:
            raise PartUnavailable("The fake store is down.", metadata={"part": "postgres"})
