"""One router leads at a time, by the database's clock, and what an older term still writes is refused and counted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from tests.router.builders import a_node, a_replica
from tests.router.fake_store import FakeStore
from weft_common.errors import PartUnavailable
from weft_router.fleet.entities import Changes, NodeState
from weft_router.fleet.lease import Fence
from weft_router.fleet.load_job import LoadJob
from weft_router.store.postgres import open_store
from weft_router.store.protocol import StaleLeader, Store

LONG = timedelta(seconds=60)
OVER = timedelta(0)
NAME = "reconciler"
JOB = LoadJob(id="l-1", model="m", revision="rev1", owner="a")

Effect = Callable[[Store, Fence], Awaitable[object]]
EFFECTS: dict[str, Effect] = {
    "node": lambda store, fence: store.put_node(a_node("one", state=NodeState.OFFLINE), fence=fence),
    "replica": lambda store, fence: store.put_replica(a_replica("r-1"), fence=fence),
    "removal": lambda store, fence: store.remove_replicas(["r-0"], fence=fence),
    "load": lambda store, fence: store.loads.claim(JOB, orphan=LONG, cooldown=LONG, fence=fence),
    "purge": lambda store, fence: store.purge(OVER, fence=fence),
}


@pytest.fixture(params=["postgres", "fake"])
async def store(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield FakeStore()
        return
    async with open_store(postgres_url) as made:
        await made.prepare()
        yield made


async def _with_rows(store: Store) -> int:
    await store.put_node(a_node("one"))
    await store.put_replica(a_replica("r-0", index=7))
    return (await store.read_changes(0)).sequence


async def test_who_leads_goes_on_leading_in_the_same_term(store: Store) -> None:
    first = await store.leases.hold(NAME, "a", ttl=LONG)
    again = await store.leases.hold(NAME, "a", ttl=LONG)
    assert (first.holder, first.epoch) == (again.holder, again.epoch) == ("a", 1)
    assert 50 < again.remaining_seconds <= 60


async def test_another_one_waits_until_the_term_is_over_by_the_databases_clock(store: Store) -> None:
    held = await store.leases.hold(NAME, "a", ttl=timedelta(seconds=0.3))
    row = await store.leases.hold(NAME, "b", ttl=LONG)
    assert (row.holder, row.fence) == ("a", held.fence)
    assert 0 <= row.remaining_seconds <= 0.3
    async with asyncio.timeout(5):
        while (row := await store.leases.hold(NAME, "b", ttl=LONG)).holder != "b":
            await asyncio.sleep(row.remaining_seconds)
    assert row.epoch == 2
    assert (await store.leases.hold(NAME, "a", ttl=LONG)).holder == "b"


async def test_a_term_that_ran_out_is_not_gone_on_with_even_by_its_own_holder(store: Store) -> None:
    await store.leases.hold(NAME, "a", ttl=OVER)
    assert (await store.leases.hold(NAME, "a", ttl=LONG)).epoch == 2


async def test_a_term_that_another_one_followed_cannot_be_renewed_and_that_is_counted(store: Store) -> None:
    old = (await store.leases.hold(NAME, "a", ttl=OVER)).fence
    await store.leases.hold(NAME, "b", ttl=LONG)
    row = await store.leases.hold(NAME, "a", ttl=LONG, fence=old)
    assert (row.holder, row.epoch, row.refused_count) == ("b", 2, 1)
    row = await store.leases.hold(NAME, "b", ttl=LONG, fence=row.fence)
    assert (row.holder, row.epoch, row.refused_count) == ("b", 2, 1)


async def test_leases_of_different_names_are_apart(store: Store) -> None:
    await store.leases.hold(NAME, "a", ttl=LONG)
    await store.leases.hold("health", "b", ttl=LONG)
    rows = await store.leases.read()
    assert [(r.name, r.holder, r.epoch) for r in rows] == [("health", "b", 1), (NAME, "a", 1)]


async def test_of_twenty_that_ask_at_once_one_leads(store: Store) -> None:
    for epoch in range(1, 4):
        rows = await asyncio.gather(
            *(store.leases.hold(NAME, f"r{n}", ttl=timedelta(seconds=30)) for n in range(20))
        )
        assert len({r.fence for r in rows}) == 1
        assert rows[0].epoch == epoch
        assert len({r.holder for r in rows}) == 1
        await store.leases.give_back(rows[0].fence)


async def test_a_lease_that_is_given_back_is_anybodys_at_once(store: Store) -> None:
    fence = (await store.leases.hold(NAME, "a", ttl=LONG)).fence
    await store.leases.give_back(fence)
    assert (await store.leases.read())[0].remaining_seconds == 0
    taken = await store.leases.hold(NAME, "b", ttl=LONG)
    assert (taken.holder, taken.epoch) == ("b", 2)
    await store.leases.give_back(fence)  # late, and of a term that is over
    assert (await store.leases.read())[0].remaining_seconds > 50


@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)
async def test_an_effect_of_the_term_that_runs_lands(store: Store, effect: Effect) -> None:
    before = await _with_rows(store)
    fence = (await store.leases.hold(NAME, "a", ttl=LONG)).fence
    await effect(store, fence)
    written = await store.read_changes(before)
    assert written != Changes(sequence=before) or effect is EFFECTS["purge"]
    assert (await store.leases.read())[0].refused_count == 0


@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)
async def test_an_effect_of_an_older_term_changes_nothing_and_is_counted(
    store: Store, effect: Effect
) -> None:
    before = await _with_rows(store)
    fence = (await store.leases.hold(NAME, "a", ttl=OVER)).fence
    await store.leases.hold(NAME, "b", ttl=LONG)
    for count in (1, 2):
        with pytest.raises(StaleLeader):
            await effect(store, fence)
        assert (await store.leases.read())[0].refused_count == count
    assert await store.read_changes(before) == Changes(sequence=before)


async def test_who_leads_next_keeps_the_count(store: Store) -> None:
    fence = (await store.leases.hold(NAME, "a", ttl=OVER)).fence
    await store.leases.hold(NAME, "b", ttl=OVER)
    with pytest.raises(StaleLeader):
        await store.remove_replicas([], fence=fence)
    assert (await store.leases.hold(NAME, "c", ttl=LONG)).refused_count == 1


@pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)
async def test_an_effect_of_a_term_that_ran_out_is_refused_also_while_nobody_followed(
    store: Store, effect: Effect
) -> None:
    """Its leader slept: what it had decided is of a world that may have changed, by admins and workers."""
    before = await _with_rows(store)
    fence = (await store.leases.hold(NAME, "a", ttl=OVER)).fence
    with pytest.raises(StaleLeader):
        await effect(store, fence)
    assert (await store.leases.read())[0].refused_count == 1
    assert await store.read_changes(before) == Changes(sequence=before)


async def test_an_effect_of_a_lease_that_never_was_is_refused(store: Store) -> None:
    with pytest.raises(StaleLeader):
        await store.remove_replicas([], fence=Fence("nobody's", 1))


async def test_no_term_begins_in_the_middle_of_an_effect(postgres_url: str) -> None:
    async with open_store(postgres_url) as first, open_store(postgres_url) as second:
        await first.prepare()
        await second.prepare()
        fence = (await first.leases.hold(NAME, "a", ttl=timedelta(seconds=0.5))).fence
        async with first._writing(fence):
            follower = asyncio.create_task(second.leases.hold(NAME, "b", ttl=LONG))
            await _until(postgres_url, "SELECT count(*) FROM pg_locks WHERE NOT granted")
            await _until(postgres_url, "SELECT expire_time < clock_timestamp() FROM leases")
            assert not follower.done()
        assert (await follower).epoch == 2


async def _until(url: str, query: str) -> None:
    connection = await asyncpg.connect(url)
    async with asyncio.timeout(5):
        while not await connection.fetchval(query):
            await asyncio.sleep(0.01)
    await connection.close()


async def test_leases_are_renewed_while_every_other_connection_waits(postgres_url: str) -> None:
    async with open_store(postgres_url) as store, open_store(postgres_url) as other:
        await store.prepare()
        await other.prepare()
        async with asyncio.TaskGroup() as tasks, other._writing():
            for _ in range(8):
                tasks.create_task(store.remove_replicas([]))
            async with asyncio.timeout(2):
                for _ in range(3):
                    assert (await store.leases.hold(NAME, "a", ttl=LONG)).holder == "a"


async def test_without_a_database_nobody_can_tell() -> None:
    async with open_store("postgresql://nobody@127.0.0.1:9/none") as store:
        with pytest.raises(PartUnavailable):
            await store.leases.hold(NAME, "a", ttl=LONG)
