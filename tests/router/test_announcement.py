"""A router says SERVING while it knows what the database says, and sends its watchers away where it does not."""

import pytest

from tests.router.fake_store import FakeStore
from tests.router.fakes import FakeBus
from weft_common.clock import ManualClock
from weft_common.errors import ReplicaClosing
from weft_router.announcement import Announcement
from weft_router.fleet.fleet import Fleet
from weft_router.sync import STALE_SECONDS, FleetSync


class FakeServer:
    """Keeps what it was told to say."""

    def __init__(self) -> None:
        self.said: list[bool] = []

    async def start(self) -> None:
        pass

    def set_serving(self, serving: bool) -> None:
        self.said.append(serving)


class World:
    def __init__(self) -> None:
        self.clock, self.server = ManualClock(), FakeServer()
        self.sync = FleetSync(FakeStore(), FakeBus(), Fleet(), self.clock)  # type: ignore[arg-type]  # a fake bus
        self.announcement = Announcement(self.server, self.sync, self.clock)

    def look(self, after: float = 0) -> None:
        self.clock.advance(after)
        self.announcement.look()


async def test_a_router_that_cannot_read_the_fleet_for_long_is_not_to_be_asked_until_it_can() -> None:
    world = World()
    await world.sync.refresh()
    world.look()
    world.look(STALE_SECONDS - 0.1)
    assert world.server.said == [True]
    world.look(0.1)
    await world.sync.refresh()
    world.look()
    assert world.server.said == [True, False, True]


async def test_its_watchers_leave_at_once_and_those_who_found_no_other_look_again_later() -> None:
    world = World()
    await world.sync.refresh()
    world.look()
    first = world.sync.watch(0.0)
    assert (await anext(first)).full
    world.look(STALE_SECONDS)
    with pytest.raises(ReplicaClosing):
        await anext(first)
    second = world.sync.watch(0.0, stale_accepted=True)
    assert (await anext(second)).full
    world.look(5)
    world.sync.heard("n-one")
    assert (await anext(second)).heard
    world.look(5)
    with pytest.raises(ReplicaClosing):
        await anext(second)
