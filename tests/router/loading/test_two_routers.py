"""Two routers over one store: one load between them, and none that dies with its owner."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.router.builders import a_model, a_node
from tests.router.fakes import FakeWorker, a_worker
from tests.router.loading.worlds import MODEL, World
from weft_common.background import background
from weft_common.errors import LoadFailed, NoCapacity, WeftError
from weft_router.fleet.entities import ReplicaState

ORPHAN = timedelta(seconds=2)


@asynccontextmanager
async def two_routers(failure: str = "") -> AsyncIterator[tuple[World, World, FakeWorker]]:
    async with asyncio.TaskGroup() as tasks:
        first = await World(tasks, load_orphan=ORPHAN).with_node()
        second = World(tasks, store=first.store, bus=first.bus, load_orphan=ORPHAN)
        await second.sync.refresh()
        async with (
            background(first.sync.follow(), second.sync.follow()),
            a_worker(first.bus, failure=failure) as worker,
        ):
            yield first, second, worker
        first.loads.close()
        second.loads.close()


async def _until_loading(world: World) -> None:
    async with asyncio.timeout(5):
        while not any(r.state is ReplicaState.LOADING for r in world.fleet.replicas.values()):
            await world.sync.refresh()
            await asyncio.sleep(0.01)


def _forget(world: World, *others: World) -> None:
    """What a router's death leaves: rows whose owner says nothing any more, as others see it some time later."""
    world.loads.close()
    for other in others:
        other.clock.advance(10)
    loads = world.store.loads
    loads.beats = {job_id: moment - 60 for job_id, moment in loads.beats.items()}


async def test_a_hundred_waiters_at_two_routers_share_one_load() -> None:
    async with two_routers() as (first, second, worker):
        async with asyncio.timeout(10), asyncio.TaskGroup() as waiters:
            for n in range(100):
                waiters.create_task((first, second)[n % 2].loads.ensure(MODEL, 5))
            await _until_loading(second)
            worker.backend.gate.set()
        assert (len(worker.installed), worker.backend.loads) == (1, 1)
        await second.sync.refresh()
        assert [len(w.fleet.ready_replicas("m")) for w in (first, second)] == [1, 1]
        assert (first.fleet.loads, second.fleet.loads) == ({}, {})


async def test_a_failure_is_told_at_both_routers_in_the_backends_words() -> None:
    async with two_routers(failure="out of memory at layer 7") as (first, second, worker):
        worker.backend.gate.set()
        outcomes = await asyncio.gather(
            *((first, second)[n % 2].loads.ensure(MODEL, 5) for n in range(20)), return_exceptions=True
        )
        assert {(type(o), str(o)) for o in outcomes} == {(LoadFailed, "out of memory at layer 7")}
        assert worker.backend.loads == 1


async def test_want_of_room_is_told_at_both_routers() -> None:
    async with two_routers() as (first, second, _):
        model = a_model(backend="exllamav2", revision="rev2")
        await first.store.put_models([model], [])
        await asyncio.gather(first.sync.refresh(), second.sync.refresh())
        outcomes = await asyncio.gather(
            first.loads.ensure(model, 5), second.loads.ensure(model, 5), return_exceptions=True
        )
        assert {type(o) for o in outcomes} == {NoCapacity}
        assert len({str(o) for o in outcomes}) == 1


async def test_a_load_whose_router_dies_is_finished_by_the_other_with_the_same_process() -> None:
    async with two_routers() as (first, second, worker), background(second.loads.keep()):
        owner = asyncio.create_task(first.loads.ensure(MODEL, 30))
        await _until_loading(second)
        waiter = asyncio.create_task(second.loads.ensure(MODEL, 30))
        await asyncio.sleep(0.05)
        _forget(first, second)
        with pytest.raises(asyncio.CancelledError):
            await owner
        worker.backend.gate.set()
        await waiter
        assert len(set(worker.installed)) == 1
        assert worker.stopped == []
        assert [r.id for r in second.fleet.ready_replicas("m")] == worker.installed[:1]


async def test_a_load_without_waiters_is_finished_all_the_same() -> None:
    async with two_routers() as (first, second, worker), background(second.loads.keep()):
        task = asyncio.create_task(first.loads.add(MODEL, None, 30))
        await _until_loading(second)
        _forget(first, second)
        with pytest.raises(asyncio.CancelledError):
            await task
        worker.backend.gate.set()
        async with asyncio.timeout(10):
            while not second.fleet.ready_replicas("m"):
                await asyncio.sleep(0.01)
        assert second.fleet.loads == {}


async def test_an_owner_that_was_only_asleep_changes_nothing_when_it_wakes() -> None:
    async with two_routers(failure="broken pipe") as (first, second, worker):
        sleeper = asyncio.create_task(first.loads.ensure(MODEL, 30))
        await _until_loading(second)
        (job,) = second.fleet.loads.values()
        first.store.loads.beats[job.id] -= 60
        taken = await second.store.loads.take_over(job.id, "router-b", orphan=ORPHAN)
        assert taken is not None
        worker.backend.gate.set()  # the sleeper's load fails, and it is no longer his to say so
        await asyncio.sleep(0.2)
        assert worker.stopped == []
        (replica,) = second.fleet.replicas.values()
        await second.store.loads.finish(taken, replace(replica, state=ReplicaState.READY))
        await second.sync.after_write()
        await sleeper
        assert len(first.fleet.ready_replicas("m")) == 1


async def test_a_model_that_changes_while_it_loads_never_serves_and_who_waits_looks_again() -> None:
    async with two_routers() as (first, second, worker):
        waiters = [asyncio.create_task(w.loads.ensure(MODEL, 30)) for w in (first, second)]
        await _until_loading(second)
        await first.store.put_models([replace(MODEL, revision="rev2")], [])
        await asyncio.gather(first.sync.refresh(), second.sync.refresh())
        worker.backend.gate.set()
        await asyncio.gather(*waiters)
        await second.sync.refresh()
        assert worker.stopped == worker.installed
        assert (second.fleet.replicas, second.fleet.loads) == ({}, {})


async def test_silence_during_an_outage_of_the_database_makes_no_orphans() -> None:
    async with two_routers() as (first, second, worker), background(second.loads.keep()):
        owner = asyncio.create_task(first.loads.ensure(MODEL, 30))
        await _until_loading(second)
        first.store.down = True
        await asyncio.sleep(1.2)  # a look that finds nobody there
        second.clock.advance(10)
        loads = first.store.loads
        loads.beats = {job_id: moment - 60 for job_id, moment in loads.beats.items()}
        first.store.down = False
        await asyncio.sleep(1.2)
        assert {job.epoch for job in second.fleet.loads.values()} == {1}
        worker.backend.gate.set()
        await owner


async def test_work_on_a_load_that_is_another_routers_by_now_ends_at_once() -> None:
    async with two_routers() as (first, second, worker), background(first.loads.keep()):
        sleeper = asyncio.create_task(first.loads.ensure(MODEL, 30))
        await _until_loading(second)
        (job,) = second.fleet.loads.values()
        first.store.loads.beats[job.id] -= 60
        taken = await second.store.loads.take_over(job.id, "router-b", orphan=ORPHAN)
        assert taken is not None
        async with asyncio.timeout(5):
            while first.loads.under_way:
                await asyncio.sleep(0.01)
        assert not sleeper.done()  # it waits for the other one's end
        (replica,) = second.fleet.replicas.values()
        await second.store.loads.finish(taken, replace(replica, state=ReplicaState.READY))
        await second.sync.after_write()
        await sleeper
        assert worker.stopped == []


async def test_a_router_that_sleeps_before_it_stops_a_failed_process_stops_no_other_ones() -> None:
    async with two_routers(failure="broken pipe") as (first, second, worker), background(second.loads.keep()):
        awake = asyncio.Event()
        stop, stops = first.commands.stop, asyncio.Event()

        async def slept(*what: Any, **how: Any) -> None:
            stops.set()
            await awake.wait()
            await stop(*what, **how)

        await first.store.put_node(a_node(max_replicas_per_model=2))
        await asyncio.gather(first.sync.refresh(), second.sync.refresh())
        first.commands.stop = slept  # type: ignore[method-assign]  # asleep between its write and its command
        sleeper = asyncio.create_task(first.loads.ensure(MODEL, 30))
        worker.backend.gate.set()
        await stops.wait()
        worker.backend.failure = ""
        await second.sync.refresh()
        loads = first.store.loads
        loads.beats = {job_id: moment - 60 for job_id, moment in loads.beats.items()}
        second.clock.advance(10)
        async with asyncio.timeout(10):
            while not second.fleet.ready_replicas("m"):
                await asyncio.sleep(0.01)
        awake.set()
        with contextlib.suppress(WeftError):
            await sleeper
        async with asyncio.timeout(10):
            while not worker.stopped:
                await asyncio.sleep(0.01)
        (replica,) = second.fleet.ready_replicas("m")
        assert replica.id not in worker.stopped
