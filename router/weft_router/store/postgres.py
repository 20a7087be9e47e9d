"""Durable fleet state in PostgreSQL.

Every write takes the fleet lock, draws a number from `fleet_sequence` and stamps its rows with it. Memory follows by
reading everything above the newest number that it knows, so one way in serves own writes, other routers' writes and
restarts alike.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from weft_common.errors import PartUnavailable
from weft_router import convert
from weft_router.fleet.entities import Changes, Model, Node, Replica
from weft_router.store.migrate import migrate
from weft_router.store.protocol import PlaceTaken

_FLEET_LOCK = 0x57454655
_CONNECT_SECONDS = 2.0
_COMMAND_SECONDS = 5.0

_PUT_NODE = """
INSERT INTO nodes (id, name, state, approved, address, description, token_sha256, generation, sequence)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO UPDATE SET state = $3, approved = $4, address = $5, description = $6, token_sha256 = $7,
    generation = $8, sequence = $9, gone = false, update_time = now()
"""
_PUT_REPLICA = """
INSERT INTO replicas (id, model, replica_index, revision, node_id, state, description, sequence)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET state = $6, description = $7, sequence = $8, gone = false, update_time = now()
"""
_PUT_MODEL = """
INSERT INTO models (name, revision, description, sequence) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET revision = $2, description = $3, sequence = $4, gone = false
"""


class PostgresStore:
    """Reads and writes of the fleet; every call raises PartUnavailable while the database cannot be reached."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def prepare(self) -> str:
        """Bring the schema up to date; returns the fleet's id."""
        async with self._connection() as connection:
            await migrate(connection)
            return str(await connection.fetchval("SELECT id FROM fleet"))

    async def read_changes(self, after: int) -> Changes:
        """Everything above a sequence; rows that are gone are named only."""
        async with self._connection() as connection, connection.transaction(isolation="repeatable_read"):
            nodes = await connection.fetch("SELECT * FROM nodes WHERE sequence > $1", after)
            replicas = await connection.fetch("SELECT * FROM replicas WHERE sequence > $1", after)
            models = await connection.fetch("SELECT * FROM models WHERE sequence > $1", after)
        rows = [*nodes, *replicas, *models]
        return Changes(
            sequence=max((row["sequence"] for row in rows), default=after),
            nodes=tuple(_node(row) for row in nodes if not row["gone"]),
            replicas=tuple(convert.replica_of(row["description"]) for row in replicas if not row["gone"]),
            models=tuple(convert.model_of(row["description"]) for row in models if not row["gone"]),
            gone_nodes=tuple(row["id"] for row in nodes if row["gone"]),
            gone_replicas=tuple(row["id"] for row in replicas if row["gone"]),
            gone_models=tuple(row["name"] for row in models if row["gone"]),
        )

    async def put_node(self, node: Node) -> None:
        """Write a node, new or known."""
        raw = convert.node_pb(node).SerializeToString()
        async with self._writing() as (connection, sequence):
            await connection.execute(
                _PUT_NODE,
                node.id,
                node.name,
                node.state.value,
                node.approved,
                node.address,
                raw,
                node.token_sha256,
                node.generation,
                sequence,
            )

    async def put_replica(self, replica: Replica) -> None:
        """Write a replica; raises PlaceTaken where another one has its node, model and index."""
        raw = convert.replica_pb(replica).SerializeToString()
        async with self._writing() as (connection, sequence):
            try:
                await connection.execute(
                    _PUT_REPLICA,
                    replica.id,
                    replica.model,
                    replica.index,
                    replica.revision,
                    replica.node_id,
                    replica.state.value,
                    raw,
                    sequence,
                )
            except asyncpg.UniqueViolationError as error:
                raise PlaceTaken(f"{replica.model}#{replica.index} on {replica.node_id}") from error

    async def remove_replicas(self, replica_ids: list[str]) -> None:
        """Mark replicas as gone; those that are gone already are left alone."""
        async with self._writing() as (connection, sequence):
            await connection.execute(
                "UPDATE replicas SET gone = true, sequence = $2, update_time = now()"
                " WHERE id = ANY($1) AND NOT gone",
                replica_ids,
                sequence,
            )

    async def put_models(self, models: list[Model], gone: list[str]) -> None:
        """Write models and mark others as gone."""
        async with self._writing() as (connection, sequence):
            for model in models:
                raw = convert.model_pb(model).SerializeToString()
                await connection.execute(_PUT_MODEL, model.name, model.revision, raw, sequence)
            await connection.execute(
                "UPDATE models SET gone = true, sequence = $2 WHERE name = ANY($1) AND NOT gone",
                gone,
                sequence,
            )

    async def purge(self, older_than: timedelta) -> None:
        """Forget replicas that have been gone for so long that every router has read of it."""
        async with self._connection() as connection:
            await connection.execute(
                "DELETE FROM replicas WHERE gone AND update_time < now() - $1::interval", older_than
            )

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[Any, int]]:
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _FLEET_LOCK)
            yield connection, await connection.fetchval("SELECT nextval('fleet_sequence')")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        try:
            async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
                yield connection
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
            raise _unreachable(error) from error
        except (
            asyncpg.CannotConnectNowError,
            asyncpg.AdminShutdownError,
            asyncpg.CrashShutdownError,
        ) as error:
            raise _unreachable(error) from error


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[PostgresStore]:
    """Open a pool that connects when it is first used, so that a router can start before its database."""
    pool = await asyncpg.create_pool(
        url, min_size=0, max_size=4, timeout=_CONNECT_SECONDS, command_timeout=_COMMAND_SECONDS
    )
    try:
        yield PostgresStore(pool)
    finally:
        pool.terminate()


def _unreachable(error: BaseException) -> PartUnavailable:
    what = f"PostgreSQL cannot be reached ({type(error).__name__}); running models keep answering."
    return PartUnavailable(what, retry_after=timedelta(seconds=5), metadata={"part": "postgres"})


def _node(row: Any) -> Node:
    return convert.node_of(
        row["description"],
        state=row["state"],
        approved=row["approved"],
        token_sha256=row["token_sha256"],
        generation=row["generation"],
    )
