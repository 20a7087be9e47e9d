"""A leader without NATS makes way for one that has it, and goes on where nobody has."""

from datetime import timedelta

from tests.router.fake_store import FakeStore
from weft_common.clock import ManualClock
from weft_router.bus_guard import BusGuard
from weft_router.fleet.lease import Fence
from weft_router.leases import Lease

TTL = timedelta(seconds=4)


class FakeBus:
    def __init__(self) -> None:
        self.connected = True


class Router:
    def __init__(self, holder: str, clock: ManualClock, store: FakeStore) -> None:
        self.bus = FakeBus()
        self.lease = Lease(store.leases, "tests", holder=holder, clock=clock, ttl=TTL)
        self.guard = BusGuard(self.bus, [self.lease], clock, TTL)


class World:
    """Two routers of which the first leads."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        store = FakeStore(clock=self.clock.monotonic)
        self.first, self.second = Router("first", self.clock, store), Router("second", self.clock, store)

    async def after(self, seconds: int) -> list[Fence | None]:
        """Who leads after so long, each router having renewed and looked every second."""
        for _ in range(seconds):
            self.clock.advance(1)
            for router in (self.first, self.second):
                await router.lease.renew()
                await router.guard.look()
        return [self.first.lease.fence, self.second.lease.fence]


async def test_a_leader_that_is_cut_off_from_nats_is_replaced_by_a_router_that_is_not() -> None:
    world = World()
    assert await world.after(10) == [Fence("tests", 1), None]
    world.first.bus.connected = False
    assert await world.after(3) == [Fence("tests", 1), None]
    assert await world.after(2) == [None, Fence("tests", 2)]
    assert await world.after(100) == [None, Fence("tests", 2)]


async def test_a_short_loss_changes_nothing() -> None:
    world = World()
    await world.after(1)
    for _ in range(5):
        world.first.bus.connected = False
        await world.after(3)
        world.first.bus.connected = True
        assert await world.after(1) == [Fence("tests", 1), None]


async def test_where_no_router_has_nats_one_leads_nearly_all_the_time() -> None:
    world = World()
    world.first.bus.connected = world.second.bus.connected = False
    led = [any(await world.after(1)) for _ in range(300)]
    assert sum(led) >= 0.9 * len(led)


async def test_whoever_gets_nats_back_leads_soon() -> None:
    world = World()
    world.first.bus.connected = world.second.bus.connected = False
    await world.after(100)
    world.second.bus.connected = True
    first, second = await world.after(35)
    assert (first, second is None) == (None, False)
