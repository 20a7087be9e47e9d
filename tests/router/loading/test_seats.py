"""Places: written down before others decide, cleared before the load begins, waited for where time helps."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from tests.router.builders import GIB, a_device, a_held_replica, a_model, a_node
from tests.router.fakes import FakeWorker, a_worker
from tests.router.loading.worlds import World
from weft_common.errors import NoCapacity
from weft_proto.weft.bus.v1 import StopBackendRequest
from weft_router.fleet.entities import ReplicaState

WARM, OTHER = a_model("warm", size_bytes=3 * GIB), a_model("other", size_bytes=3 * GIB)
NEW = a_model("new", size_bytes=3 * GIB)


@dataclass
class Machine:
    """A node with room for two of the models, of which two are loaded, and a worker that stops what it is told to."""

    world: World
    worker: FakeWorker

    async def report(self, **busy: int) -> None:
        self.world.fleet.hear("n-one", self.world.clock.now)
        self.world.fleet.report("n-one", {f"r-{k}": n for k, n in busy.items()}, self.world.clock.now)
        self.world.sync.pulse.beat()

    async def gone(self, replica_id: str) -> None:
        """The heartbeat after a process has ended."""
        there = [r for r in self.world.fleet.replicas_on("n-one") if r.id != replica_id]
        free = 8 * GIB - sum(r.memory_bytes for r in there)
        self.world.fleet.measure("n-one", (a_device(free / GIB, 8),), there)
        await self.world.store.remove_replicas([replica_id])
        await self.world.sync.refresh()


@asynccontextmanager
async def a_full_machine(
    stops: Callable[[Machine, StopBackendRequest], Awaitable[None]], **fields: timedelta | bool
) -> AsyncIterator[Machine]:
    async with asyncio.TaskGroup() as tasks:
        world = World(tasks, **fields)
        await world.store.put_models([WARM, OTHER, NEW], [])
        await world.store.put_node(a_node(devices=(a_device(1, 8),)))
        for model in (WARM, OTHER):
            await world.store.put_replica(a_held_replica(f"r-{model.name}", model.name, 3.5))
        await world.sync.refresh()
        world.fleet.measure("n-one", (a_device(1, 8),), world.fleet.replicas_on("n-one"))
        world.clock.advance(60)
        async with a_worker(world.bus) as worker:
            machine = Machine(world, worker)
            answer = world.bus.responders["weft.node.n-one.backend.stop"]

            async def stop(payload: bytes) -> bytes:
                await stops(machine, StopBackendRequest.parse(payload))
                return await answer(payload)

            world.bus.responders["weft.node.n-one.backend.stop"] = stop
            worker.backend.gate.set()
            await machine.report()
            yield machine
        world.loads.close()


async def _at_once(machine: Machine, command: StopBackendRequest) -> None:
    await machine.gone(command.replica_id)


async def test_the_least_recently_used_replica_goes_and_the_load_begins_once_it_is_gone() -> None:
    loaded_before_gone = []

    async def stops(machine: Machine, command: StopBackendRequest) -> None:
        assert not command.force
        loaded_before_gone.append(len(machine.worker.installed))
        await machine.gone(command.replica_id)

    async with a_full_machine(stops) as machine:
        await machine.report(warm=1)
        await machine.report(warm=0)
        await machine.world.loads.ensure(NEW, 5)
        fleet = machine.world.fleet
        assert {r.model for r in fleet.replicas.values() if r.state is ReplicaState.READY} == {"warm", "new"}
        assert (loaded_before_gone, machine.worker.stopped) == ([0], ["r-other"])


async def test_a_load_waits_for_memory_that_does_not_come_free_and_then_gives_its_place_back() -> None:
    async def never(machine: Machine, command: StopBackendRequest) -> None:
        machine.world.clock.advance(61)

    async with a_full_machine(never) as machine:
        with pytest.raises(NoCapacity):
            await machine.world.loads.ensure(NEW, 5)
        assert machine.worker.installed == []
        assert {r.model for r in machine.world.fleet.replicas.values()} == {"warm", "other"}


async def test_busy_replicas_are_waited_for() -> None:
    async with a_full_machine(_at_once) as machine:
        await machine.report(warm=1, other=1)
        waiter = asyncio.create_task(machine.world.loads.ensure(NEW, 5))
        await asyncio.sleep(0.1)
        assert machine.worker.stopped == []
        status = await machine.world.loads.status("new")
        assert status is not None
        assert status.message == "everything that could go is busy"
        await machine.report(other=0)
        await waiter
        assert machine.worker.stopped == ["r-other"]


async def test_who_has_waited_long_enough_closes_a_busy_replica_which_finishes() -> None:
    finished = asyncio.Event()

    async def finishes(machine: Machine, command: StopBackendRequest) -> None:
        assert not command.force
        finished.set()

    async with a_full_machine(finishes) as machine:
        await machine.report(warm=2, other=1)
        waiter = asyncio.create_task(machine.world.loads.ensure(NEW, 30))
        await asyncio.sleep(0.05)
        machine.world.clock.advance(5.1)
        await machine.report(warm=2, other=1)
        await finished.wait()
        assert machine.world.fleet.replicas["r-other"].state is ReplicaState.UNLOADING
        assert machine.worker.installed == []
        await machine.report(other=0)
        await machine.gone("r-other")
        await waiter


async def test_force_cuts_instead_of_waiting() -> None:
    forced = []

    async def stops(machine: Machine, command: StopBackendRequest) -> None:
        forced.append(command.force)
        await machine.gone(command.replica_id)

    async with a_full_machine(stops, force_eviction=True, eviction_patience=timedelta(0)) as machine:
        await machine.report(warm=2, other=1)
        await machine.world.loads.ensure(NEW, 5)
        assert forced == [True]


async def test_without_leave_to_evict_the_refusal_says_so() -> None:
    async with a_full_machine(_at_once) as machine:
        with pytest.raises(NoCapacity, match="no free memory"):
            await machine.world.loads.add(NEW, None, 5, may_evict=False)


async def test_two_loads_at_once_do_not_share_a_victim_or_its_memory() -> None:
    more = replace(NEW, name="more")
    async with a_full_machine(_at_once) as machine:
        await machine.world.store.put_models([more], [])
        await machine.world.sync.refresh()
        await asyncio.gather(machine.world.loads.ensure(NEW, 5), machine.world.loads.ensure(more, 5))
        assert sorted(machine.worker.stopped) == ["r-other", "r-warm"]
        assert {r.model for r in machine.world.fleet.replicas.values()} == {"new", "more"}
