"""The gateway's own queue: in the order of arrival, whoever comes and goes."""

import asyncio

from tests.gateway.builders import a_full_update, a_replica, a_view
from weft_common.clock import ManualClock
from weft_gateway.local_queue import LocalQueue
from weft_gateway.slot import Slot


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class World:
    """One replica of one slot that is taken."""

    def __init__(self) -> None:
        clock = ManualClock()
        view = a_view(clock)
        view.apply(a_full_update(replicas=[a_replica(slot_count=1)]))
        (self.target,) = view.targets("m")
        self.queue = LocalQueue(view, clock, limit=1000)
        self.pick = self.target.load.pick(clock.monotonic())

    async def begun(self, number: int) -> "asyncio.Task[Slot | None]":
        task = asyncio.create_task(self.queue.wait("m", number, 60))
        await asyncio.sleep(0)
        return task

    async def free(self) -> None:
        self.target.load.take_back(self.pick)
        self.queue.stir("m")
        await settled()


async def test_whoever_leaves_and_comes_again_has_its_place_back_and_nobody_else_loses_one() -> None:
    world = World()
    tasks = [await world.begun(number) for number in range(200)]
    for task in tasks[:199]:
        task.cancel()
    await settled()
    assert world.queue.waiting_count == 1
    again = await world.begun(0)
    assert world.queue.waiting_count == 2
    await world.free()
    assert (again.done(), tasks[199].done()) == (True, False)
    tasks[199].cancel()


async def test_those_who_have_left_get_no_slot() -> None:
    world = World()
    first, second = await world.begun(1), await world.begun(2)
    first.cancel()
    await settled()
    await world.free()
    assert second.done()
    assert world.queue.waiting_count == 0
