"""Loads: one for everybody who waits, detached from each of them, and nothing left behind by a failure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.router.builders import a_model, a_node
from tests.router.fake_store import FakeStore
from tests.router.fakes import FakeBus, a_worker
from weft_common.errors import LoadFailed, ModelLoading, NoCapacity, PartUnavailable
from weft_router.fleet.entities import ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.loads import Loads
from weft_router.settings import RouterSettings
from weft_router.sync import FleetSync

MODEL = a_model()


def settings(**fields: Any) -> RouterSettings:
    values = {
        "listen": "127.0.0.1:0",
        "postgres_url": "postgresql://x",
        "nats_url": "nats://x",
        "mesh_secret": "ab" * 32,
        "registration_token": "join",
        "models_path": Path("/nowhere"),
    }
    return RouterSettings(**(values | fields))


class World:
    """A router's loads over a fake store and bus, with one node."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.store, self.bus, self.fleet = FakeStore(), FakeBus(), Fleet()
        self.sync = FleetSync(self.store, self.bus, self.fleet)  # type: ignore[arg-type]  # a fake bus
        self.loads = Loads(
            settings=settings(),
            fleet=self.fleet,
            store=self.store,
            sync=self.sync,
            bus=self.bus,
            tasks=tasks,  # type: ignore[arg-type]
        )

    async def with_node(self) -> "World":
        await self.store.put_models([MODEL], [])
        await self.store.put_node(a_node())
        await self.sync.refresh()
        return self


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as tasks:
        world = await World(tasks).with_node()
        yield world
        world.loads.close()


async def test_a_load_ends_with_a_ready_replica() -> None:
    async with a_world() as world, a_worker(world.bus) as worker:
        worker.backend.gate.set()
        await world.loads.ensure(MODEL, 5)
        (replica,) = world.fleet.ready_replicas("m")
        assert (replica.address, replica.slot_count, replica.node_id) == (worker.address, 4, "n-one")
        assert world.loads.under_way == frozenset()


async def test_many_waiters_share_one_load() -> None:
    async with a_world() as world, a_worker(world.bus) as worker:
        async with asyncio.TaskGroup() as waiters:
            for _ in range(100):
                waiters.create_task(world.loads.ensure(MODEL, 5))
            await asyncio.sleep(0)
            worker.backend.gate.set()
        assert (len(worker.installed), worker.backend.loads) == (1, 1)


async def test_a_waiter_that_leaves_ends_its_own_wait_only() -> None:
    async with a_world() as world, a_worker(world.bus) as worker:
        with pytest.raises(ModelLoading):
            await world.loads.ensure(MODEL, 0.05)
        worker.backend.gate.set()
        await world.loads.ensure(MODEL, 5)
        assert worker.backend.loads == 1


async def test_a_failed_load_tells_every_waiter_the_backends_words_and_leaves_nothing() -> None:
    async with a_world() as world, a_worker(world.bus, failure="out of memory at layer 7") as worker:
        worker.backend.gate.set()
        outcomes = await asyncio.gather(
            *(world.loads.ensure(MODEL, 5) for _ in range(10)), return_exceptions=True
        )
        assert {type(o) for o in outcomes} == {LoadFailed}
        assert {str(o) for o in outcomes} == {"out of memory at layer 7"}
        assert worker.stopped == worker.installed
        assert world.fleet.replicas == {}


async def test_a_backend_that_cannot_be_started_says_why() -> None:
    async with a_world() as world, a_worker(world.bus) as worker:
        worker.install_error = "no such engine"
        with pytest.raises(LoadFailed, match="no such engine"):
            await world.loads.ensure(MODEL, 5)
        assert world.fleet.replicas == {}


async def test_the_next_load_after_a_failure_tries_again() -> None:
    async with a_world() as world, a_worker(world.bus, failure="flaky") as worker:
        worker.backend.gate.set()
        with pytest.raises(LoadFailed):
            await world.loads.ensure(MODEL, 5)
        worker.backend.failure = ""
        await world.loads.ensure(MODEL, 5)
        assert len(world.fleet.ready_replicas("m")) == 1


async def test_without_a_place_the_refusal_says_why() -> None:
    async with a_world() as world:
        with pytest.raises(NoCapacity, match="without engine exllamav2"):
            await world.loads.ensure(a_model(backend="exllamav2"), 5)


async def test_a_worker_that_does_not_answer_frees_the_place() -> None:
    async with a_world() as world:
        with pytest.raises(PartUnavailable):
            await world.loads.ensure(MODEL, 5)
        assert world.fleet.replicas == {}


async def test_a_database_that_is_down_is_named() -> None:
    async with a_world() as world:
        world.store.down = True
        with pytest.raises(PartUnavailable) as caught:
            await world.loads.ensure(MODEL, 5)
        assert caught.value.metadata == {"part": "postgres"}


async def test_a_load_under_way_shows_as_a_loading_replica_that_is_this_routers() -> None:
    async with a_world() as world, a_worker(world.bus) as worker:
        with pytest.raises(ModelLoading):
            await world.loads.ensure(MODEL, 0.05)
        (replica,) = world.fleet.replicas.values()
        assert replica.state is ReplicaState.LOADING
        assert world.loads.under_way == {replica.id}
        worker.backend.gate.set()
        await world.loads.ensure(MODEL, 5)
