"""What the router needs of durable state."""

from datetime import timedelta
from typing import Protocol

from weft_router.fleet.entities import Changes, Model, Node, Replica


class PlaceTaken(Exception):
    """Another router has put a replica in this very place; decide again."""


class Store(Protocol):
    """Durable fleet state; every call raises PartUnavailable while it cannot be reached.

    Each write gets a sequence above all earlier ones, and becomes readable in that order.
    """

    async def prepare(self) -> str:
        """Bring the schema up to date; returns the identity of this database."""
        ...

    async def read_changes(self, after: int) -> Changes:
        """Everything above a sequence; what is gone is named only."""
        ...

    async def put_node(self, node: Node) -> None:
        """Write a node, new or known."""

    async def put_replica(self, replica: Replica) -> None:
        """Write a replica; raises PlaceTaken where another one has its node, model and index."""

    async def remove_replicas(self, replica_ids: list[str]) -> None:
        """Mark replicas as gone; those that are gone already are left alone."""

    async def put_models(self, models: list[Model], gone: list[str]) -> None:
        """Write models and mark others as gone."""

    async def purge(self, older_than: timedelta) -> None:
        """Forget replicas that have been gone for so long that every router has read of it."""
