"""One router leads at a time; another one does as soon as it is gone."""

import asyncio
import contextlib

import asyncpg
import pytest

from weft_common.errors import PartUnavailable
from weft_router.store.leadership import Leadership
from weft_router.store.postgres import open_store


async def test_one_of_two_leads_until_it_ends(postgres_url: str) -> None:
    async with open_store(postgres_url) as second:
        async with open_store(postgres_url) as first:
            assert await first.try_lead("scaling")
            assert not await second.try_lead("scaling")
            assert await second.try_lead("something else")
            assert not await second.try_lead("scaling")
        async with asyncio.timeout(5):
            while not await second.try_lead("scaling"):
                await asyncio.sleep(0.01)


async def test_a_lost_connection_ends_it(postgres_url: str) -> None:
    first, second = (Leadership(postgres_url, timeout_seconds=2) for _ in range(2))
    assert await first.try_lead("scaling")
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(5):
        while not await second.try_lead("scaling"):
            await asyncio.sleep(0.01)
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        assert not await first.try_lead("scaling")  # or the loss shows only now
    assert not await first.try_lead("scaling")
    first.close()
    second.close()
    await admin.close()


async def test_without_a_database_nobody_can_tell() -> None:
    async with open_store("postgresql://nobody@127.0.0.1:9/none") as store:
        with pytest.raises(PartUnavailable):
            await store.try_lead("scaling")
