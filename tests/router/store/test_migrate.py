"""Migrations: forward only, once, and never over a newer schema."""

import asyncio

import asyncpg
import pytest

from weft_common.errors import PartUnavailable
from weft_router.store.migrate import SchemaTooNew, migrations
from weft_router.store.postgres import open_store


async def test_many_routers_at_once_migrate_once(postgres_url: str) -> None:
    async with open_store(postgres_url) as one, open_store(postgres_url) as two, asyncio.TaskGroup() as tasks:
        for store in (one, two, one, two):
            tasks.create_task(store.prepare())
    connection = await asyncpg.connect(postgres_url)
    versions = await connection.fetch("SELECT version FROM schema_migrations ORDER BY version")
    await connection.close()
    assert [row["version"] for row in versions] == [version for version, _ in migrations()]


async def test_a_newer_schema_is_refused(postgres_url: str) -> None:
    async with open_store(postgres_url) as store:
        await store.prepare()
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("INSERT INTO schema_migrations (version) VALUES (9999)")
        await connection.close()
        with pytest.raises(SchemaTooNew, match="9999"):
            await store.prepare()


async def test_a_database_that_cannot_be_reached_is_named(unused_tcp_port: int) -> None:
    async with open_store(f"postgresql://weft:x@127.0.0.1:{unused_tcp_port}/postgres") as store:
        with pytest.raises(PartUnavailable, match="PostgreSQL") as caught:
            await store.read_changes(0)
    assert caught.value.metadata == {"part": "postgres"}


def test_versions_have_no_gaps() -> None:
    versions = [version for version, _ in migrations()]
    assert versions == list(range(1, len(versions) + 1))
