"""A router leads for no longer than the database lets it, and hands over at once when it stops."""

import asyncio
from datetime import timedelta

from tests.router.fake_store import FakeStore
from weft_common.background import background
from weft_common.clock import ManualClock
from weft_router.fleet.lease import Fence, LeaseRow, next_epoch
from weft_router.leases import Lease, Leases

TTL = timedelta(seconds=4)


class World:
    """Two routers over one store, all by one clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = FakeStore(clock=self.clock.monotonic)
        self.first, self.second = self.lease("first"), self.lease("second")

    def lease(self, holder: str) -> Lease:
        return Lease(self.store.leases, "tests", holder=holder, clock=self.clock, ttl=TTL)


async def test_nobody_leads_who_has_not_asked() -> None:
    assert World().first.fence is None


async def test_who_asks_first_leads_and_renews_four_times_as_often_as_it_must() -> None:
    world = World()
    assert await world.first.renew() == 1.0
    assert world.first.fence == Fence("tests", 1)
    await world.second.renew()
    assert world.second.fence is None


async def test_a_term_ends_here_when_it_was_not_renewed() -> None:
    world = World()
    await world.first.renew()
    world.store.down = True
    world.clock.advance(3.9)
    assert await world.first.renew() == 1.0
    assert world.first.fence == Fence("tests", 1)
    world.clock.advance(0.1)
    assert world.first.fence is None


async def test_a_term_counts_from_before_its_renewal_was_sent() -> None:
    world = World()
    hold = world.store.leases.hold

    async def slowly(name: str, holder: str, *, ttl: timedelta, fence: Fence | None = None) -> LeaseRow:
        world.clock.advance(3)
        return await hold(name, holder, ttl=ttl, fence=fence)

    world.store.leases.hold = slowly  # type: ignore[method-assign]  # an answer that takes three seconds
    await world.first.renew()
    world.clock.advance(1)
    assert world.first.fence is None


async def test_who_waits_asks_again_in_the_moment_the_term_ends() -> None:
    world = World()
    await world.first.renew()
    world.clock.advance(3.5)
    pause = await world.second.renew()
    assert 0.5 < pause < 0.6
    world.clock.advance(pause)
    await world.second.renew()
    assert world.second.fence == Fence("tests", 2)


async def test_who_slept_too_long_follows_and_may_lead_again_later() -> None:
    world = World()
    await world.first.renew()
    world.clock.advance(10)
    await world.second.renew()
    await world.first.renew()
    assert (world.first.fence, world.second.fence) == (None, Fence("tests", 2))
    world.clock.advance(10)
    await world.first.renew()
    assert world.first.fence == Fence("tests", 3)


async def test_what_a_leader_that_slept_asks_for_first_is_counted_once() -> None:
    world = World()
    await world.first.renew()
    world.clock.advance(10)
    await world.second.renew()
    for _ in range(3):
        await world.first.renew()
    assert [row.refused_count for row in await world.store.leases.read()] == [1]


async def test_a_router_that_stops_gives_its_leases_back() -> None:
    world = World()
    leases = Leases(world.store.leases, holder="first", clock=world.clock, ttl=TTL)
    kept = [leases.of("tests"), leases.of("others")]
    async with asyncio.timeout(5), background(leases.keep()):
        while not all(lease.fence for lease in kept):
            await asyncio.sleep(0)
        assert leases.of("tests") is kept[0]
    assert [lease.fence for lease in kept] == [None, None]
    assert [row.remaining_seconds for row in await world.store.leases.read()] == [0, 0]
    await world.second.renew()
    assert world.second.fence == Fence("tests", 2)


async def test_a_router_that_stops_without_a_database_stops_all_the_same() -> None:
    world = World()
    async with asyncio.timeout(5), background(world.first.keep()):
        while not world.first.fence:
            await asyncio.sleep(0)
        world.store.down = True
    assert world.first.fence is None


def test_the_first_term_is_anybodys() -> None:
    assert next_epoch(None, "a") == 1


def test_a_term_is_gone_on_with_by_its_holder_only_and_a_new_one_has_a_new_number() -> None:
    running, over = LeaseRow("n", "a", 3, 0.5), LeaseRow("n", "a", 3, 0.0)
    assert [next_epoch(running, "a"), next_epoch(running, "b")] == [3, None]
    assert [next_epoch(over, "a"), next_epoch(over, "b")] == [4, 4]


async def test_who_steps_down_leaves_the_lease_to_whoever_asks_and_asks_itself_a_minute_later() -> None:
    world = World()
    await world.first.renew()
    await world.first.step_down("it sees nobody")
    await world.first.step_down("once more")
    assert world.first.fence is None
    assert await world.first.renew() == 1.0
    await world.second.renew()
    assert (world.first.fence, world.second.fence) == (None, Fence("tests", 2))
    world.clock.advance(60)
    await world.first.renew()
    assert world.first.fence == Fence("tests", 3)
