"""What every store does, real or fake."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.router.builders import a_model, a_node, a_replica
from tests.router.fake_store import FakeStore
from weft_router.fleet.entities import Changes, NodeState, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.store.postgres import open_store
from weft_router.store.protocol import PlaceTaken, Store


@pytest.fixture(params=["postgres", "fake"])
async def store(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield FakeStore()
        return
    async with open_store(postgres_url) as made:
        await made.prepare()
        yield made


async def test_an_empty_store_has_nothing_above_zero(store: Store) -> None:
    assert await store.read_changes(0) == Changes()


async def test_what_was_written_is_read_as_it_was(store: Store) -> None:
    node = a_node(labels={"zone": "a"}, token_sha256=b"\1" * 32, generation=3, create_seconds=12.5)
    model, replica = a_model(options={"k": "v"}, size_bytes=7), a_replica(memory_bytes=5, pid=9)
    await store.put_node(node)
    await store.put_models([model], gone=[])
    await store.put_replica(replica)
    changes = await store.read_changes(0)
    assert (changes.nodes, changes.models, changes.replicas) == ((node,), (model,), (replica,))


async def test_each_write_is_above_the_one_before(store: Store) -> None:
    await store.put_node(a_node())
    first = (await store.read_changes(0)).sequence
    await store.put_node(a_node(state=NodeState.DRAINING))
    changes = await store.read_changes(first)
    assert changes.sequence > first
    assert [n.state for n in changes.nodes] == [NodeState.DRAINING]
    assert await store.read_changes(changes.sequence) == Changes(sequence=changes.sequence)


async def test_two_replicas_cannot_have_one_place(store: Store) -> None:
    await store.put_node(a_node())
    await store.put_replica(a_replica("r-1"))
    with pytest.raises(PlaceTaken):
        await store.put_replica(a_replica("r-2"))
    await store.put_replica(a_replica("r-2", index=1))
    await store.put_replica(a_replica("r-1", state=ReplicaState.UNLOADING))


async def test_what_is_gone_is_named_and_frees_its_place(store: Store) -> None:
    await store.put_node(a_node())
    await store.put_replica(a_replica("r-1"))
    before = (await store.read_changes(0)).sequence
    await store.remove_replicas(["r-1", "never-was"])
    changes = await store.read_changes(before)
    assert (changes.replicas, changes.gone_replicas) == ((), ("r-1",))
    await store.put_replica(a_replica("r-2"))
    assert (await store.read_changes(0)).replicas == (a_replica("r-2"),)


async def test_models_come_and_go(store: Store) -> None:
    await store.put_models([a_model("a"), a_model("b")], gone=[])
    before = (await store.read_changes(0)).sequence
    await store.put_models([replace(a_model("b"), revision="rev2")], gone=["a"])
    changes = await store.read_changes(before)
    assert ([m.revision for m in changes.models], changes.gone_models) == (["rev2"], ("a",))


async def test_concurrent_writes_are_all_read_by_who_follows(store: Store) -> None:
    await store.put_node(a_node())
    fleet = Fleet()

    async def follow() -> None:
        while len(fleet.replicas) < 20:
            fleet.apply(await store.read_changes(fleet.sequence))
            await asyncio.sleep(0)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        for index in range(20):
            tasks.create_task(store.put_replica(a_replica(f"r-{index}", index=index)))
    assert len(fleet.replicas) == 20


async def test_a_store_keeps_its_identity(store: Store) -> None:
    first = await store.prepare()
    assert first
    assert await store.prepare() == first
