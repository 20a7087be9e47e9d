"""What the journal is told of loads and of what goes for them: once each, by the router that did it, and why."""

import asyncio
from datetime import timedelta

import pytest

from tests.router.fakes import a_worker
from tests.router.loading.test_seats import NEW, Machine, a_full_machine
from tests.router.loading.test_two_routers import _forget, _until_loading, two_routers
from tests.router.loading.worlds import MODEL, World, a_world
from weft_common.background import background
from weft_common.errors import LoadFailed
from weft_proto.weft.bus.v1 import StopBackendRequest
from weft_router.refusals import telling_refusals


async def _goes(machine: Machine, command: StopBackendRequest) -> None:
    await machine.gone(command.replica_id)


def whats(world: World) -> list[str]:
    return [what for what, *_ in world.journal.told]


async def test_a_load_is_told_when_it_has_a_place_and_when_it_is_done() -> None:
    async with a_world() as world, a_worker(world.bus) as worker:
        worker.backend.gate.set()
        await world.loads.ensure(MODEL, 5)
        (replica,) = world.fleet.ready_replicas("m")
        assert world.journal.told == [
            ("load_begun", "m", "one", replica.id),
            ("load_done", "m", "one", replica.id),
        ]
        begun, done = world.journal.waiting
        assert begun.why == "requests wait for it, and one has room"
        assert begun.details["load"] == done.details["load"]
        assert float(done.details["seconds"]) >= 0


async def test_a_failure_is_told_once_in_the_engines_words_however_many_wait() -> None:
    async with a_world() as world, a_worker(world.bus, failure="out of memory at layer 7") as worker:
        worker.backend.gate.set()
        await asyncio.gather(*(world.loads.ensure(MODEL, 5) for _ in range(10)), return_exceptions=True)
        assert whats(world) == ["load_begun", "load_failed"]
        failed = world.journal.waiting[-1]
        assert (failed.why, failed.details["reason"]) == ("out of memory at layer 7", "LOAD_FAILED")


async def test_who_goes_is_told_with_the_reason_why_it_was_cheapest() -> None:
    async with a_full_machine(_goes) as machine:
        await machine.report(warm=1)
        await machine.report(warm=0)
        await machine.world.loads.ensure(NEW, 5)
        assert whats(machine.world) == ["evicted", "load_begun", "load_done"]
        evicted, begun, _ = machine.world.journal.waiting
        assert (evicted.model, evicted.node, evicted.replica_id) == ("other", "one", "r-other")
        assert (evicted.details["for_model"], evicted.details["for_replica"]) == ("new", begun.replica_id)
        assert evicted.details["idle_seconds"] == "60.0"
        assert evicted.why == (
            "3.1 GiB are needed on one, and to lose it costs least: idle for 60 s, and loaded in 0.0 s"
        )
        assert begun.why == "requests wait for it, and one has room once other#0 is gone"


@pytest.mark.parametrize(("force", "words"), [(True, "it is cut"), (False, "it finishes first")])
async def test_a_busy_one_that_goes_is_told_as_such(force: bool, words: str) -> None:
    async with a_full_machine(_goes, force_eviction=force, eviction_patience=timedelta(0)) as machine:
        await machine.report(warm=2, other=1)
        await machine.world.loads.ensure(NEW, 5)
        evicted = machine.world.journal.waiting[0]
        assert words in evicted.why
        assert evicted.details["forced"] == ("true" if force else "false")


async def test_a_load_of_a_dead_router_is_told_by_the_one_that_goes_on_with_it() -> None:
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
        assert (whats(first), whats(second)) == (["load_begun"], ["load_taken_over", "load_done"])


async def test_a_failure_at_two_routers_is_told_by_its_owner_only() -> None:
    async with two_routers("no") as (first, second, worker):
        worker.backend.gate.set()
        await asyncio.gather(
            first.loads.ensure(MODEL, 30), second.loads.ensure(MODEL, 30), return_exceptions=True
        )
        told = [*whats(first), *whats(second)]
        assert sorted(told) == ["load_begun", "load_failed"]


async def test_refusals_are_counted_by_model_and_reason() -> None:
    async with a_world() as world:
        for _ in range(3):
            with pytest.raises(LoadFailed), telling_refusals(world.journal, "m"):
                raise LoadFailed("no")
        assert [(e.what, e.why, dict(e.details)) for e in world.journal.waiting] == [
            ("refused", "no", {"reason": "LOAD_FAILED", "count": "1"})
        ]
        world.journal.tell_rest()
        assert world.journal.waiting[-1].details["count"] == "2"
