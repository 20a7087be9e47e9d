"""A database that is there and does not serve: an outage like any other, and none that a stopped router makes."""

import asyncio
import contextlib

import asyncpg
import pytest

from tests.router.builders import a_node
from weft_common.errors import PartUnavailable
from weft_router.store.postgres import open_store


async def test_a_server_that_only_reads_is_unavailable_to_who_writes(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        async with open_store(postgres_url) as store:
            await store.prepare()
            await _read_only(connection, "on")
            with pytest.raises(PartUnavailable) as caught:
                await store.put_node(a_node())
            assert caught.value.metadata == {"part": "postgres"}
            await _read_only(connection, "off")
            await store.put_node(a_node())
    finally:
        await _read_only(connection, "off")
        await connection.close()


async def _read_only(connection: asyncpg.Connection, value: str) -> None:
    await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    await connection.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(10):
        while await connection.fetchval("SHOW default_transaction_read_only") != value:
            await asyncio.sleep(0.01)


async def test_a_router_that_is_stopped_in_the_middle_of_a_write_holds_nobody_up_for_long(
    postgres_url: str,
) -> None:
    async with open_store(postgres_url) as stopped, open_store(postgres_url) as other:
        await stopped.prepare()
        await other.prepare()
        with contextlib.suppress(PartUnavailable):
            async with stopped._writing():
                async with asyncio.timeout(10):
                    while True:
                        try:
                            await other.put_node(a_node())
                            break
                        except PartUnavailable:
                            await asyncio.sleep(0.1)
        assert [n.id for n in (await other.read_changes(0)).nodes] == ["n-one"]
