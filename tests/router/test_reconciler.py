"""The reconciler: policies come true, one step for a model at a time, by the router that leads."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import weft_router.reconciler
from tests.router.builders import GIB, a_model, a_node, a_replica
from tests.router.reconciling import TWO, FakeWarmth, World
from weft_common.background import background
from weft_common.errors import LoadFailed
from weft_router.fleet.entities import Changes, Replica, ReplicaState
from weft_router.fleet.lease import Fence
from weft_router.fleet.load_job import LoadJob
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow, Shrink
from weft_router.placement.request import Request


async def test_a_minimum_is_loaded_and_others_may_make_room_for_it() -> None:
    world = World(*TWO, a_model(), a_replica(), Policy("m", min_replicas=2))
    await world.step()
    assert world.loads.asked == [("m", None, True)]


async def test_without_a_policy_nothing_comes_and_nothing_goes() -> None:
    world = World(*TWO, a_model(), a_replica(), a_replica("r-2", node_id="n-two"))
    world.clock.advance(10_000)
    world.report()
    assert world.look() == []


async def test_when_all_are_busy_for_ten_seconds_one_more_is_loaded_if_there_is_room() -> None:
    world = World(*TWO, a_model(), a_replica(), Policy("m", max_replicas=2))
    world.report(r_1=4)
    assert await world.asked_after(9) == 0  # of silence after one report: nothing is known
    for _ in range(12):
        world.clock.advance(1)
        world.report(r_1=4)
        await world.step()
    assert world.loads.asked == [("m", None, False)]


async def test_who_does_not_say_how_busy_it_is_is_neither_busy_nor_idle() -> None:
    things = (a_model(), a_replica(), a_replica("r-2", node_id="n-two"), Policy("m", min_replicas=1))
    world = World(*TWO, *things)
    world.look()
    world.clock.advance(400)
    assert world.look() == []
    world.report()
    assert [type(step) for step in world.look()] == [Shrink]


async def test_a_replica_that_falls_mute_does_not_keep_its_model_from_growing() -> None:
    things = (a_model(), a_replica(), a_replica("r-2", node_id="n-two"))
    world = World(*TWO, a_node("three"), *things, Policy("m", min_replicas=2, max_replicas=3))
    world.fleet.report("n-two", {"r-2": 0}, world.clock.now)
    for _ in range(20):
        world.clock.advance(1)
        world.fleet.report("n-one", {"r-1": 4}, world.clock.now)
        world.fleet.report("n-two", {}, world.clock.now)
        await world.step()
    assert world.loads.asked == [("m", None, False)]


async def test_a_node_that_is_gone_need_not_say_anything() -> None:
    things = (a_model(), a_replica(), a_replica("r-2", node_id="n-two"), Policy("m", min_replicas=1))
    gone = a_replica("r-3", node_id="n-nowhere")
    world = World(*TWO, *things, gone)
    world.look()
    world.clock.advance(400)
    world.report()
    assert [type(step) for step in world.look()] == [Shrink]


async def test_the_longest_idle_replica_goes_after_five_minutes() -> None:
    world = World(
        *TWO, a_model(), a_replica(), a_replica("r-2", node_id="n-two"), Policy("m", max_replicas=2)
    )
    await world.step()
    world.clock.advance(400)
    world.report(r_1=1)
    await world.step()
    assert world.unloads.unloaded == ["r-2"]


async def test_a_moment_of_silence_does_not_make_five_minutes_begin_anew() -> None:
    """Three replicas that have a request by turns; one of the nodes says nothing for ten seconds, and may be full."""
    nodes = [a_node(name) for name in ("one", "two", "three")]
    replicas = [a_replica(f"r-{n}", node_id=node.id) for n, node in enumerate(nodes)]
    world = World(*nodes, *replicas, a_model(), Policy("m", max_replicas=3))
    world.report(r_0=1, r_1=1, r_2=1)
    for second in range(310):
        world.clock.advance(1)
        world.hear()
        for n, (node, replica) in enumerate(zip(nodes, replicas, strict=True)):
            if n or not 150 <= second < 160:
                world.fleet.report(node.id, {replica.id: int(second % 3 == n)}, world.clock.now)
        await world.step()
        assert bool(world.unloads.unloaded) is (second >= 300), second
        world.unloads.unloaded = world.unloads.unloaded[:1]
    assert len(world.unloads.unloaded) == 1


@pytest.mark.parametrize("stale", [a_replica(revision="old"), a_replica(model="former")])
async def test_what_serves_an_old_revision_or_a_former_model_goes(stale: Replica) -> None:
    world = World(*TWO, a_model(), stale, a_replica("r-2", node_id="n-two"))
    await world.step()
    assert world.unloads.unloaded == ["r-1"]


async def test_what_its_policy_no_longer_leads_to_goes_once_it_is_loaded() -> None:
    loading = a_replica(state=ReplicaState.LOADING)
    world = World(*TWO, a_model(), loading, Policy("m", {"zone": "eu"}))
    await world.step()
    assert world.unloads.unloaded == []
    world.fleet.apply(Changes(sequence=2, replicas=(replace(loading, state=ReplicaState.READY),)))
    await world.step()
    assert world.unloads.unloaded == ["r-1"]


async def test_a_model_is_spread_over_all_nodes_but_those_that_cannot_have_it() -> None:
    full = a_node("full", free_gib=1)
    world = World(full, *TWO, a_model(size_bytes=2 * GIB), Policy("m", spread_all=True))
    for _ in range(3):
        await world.step()
    assert set(world.loads.asked) == {("m", "one", True)}  # the fake never loads anything
    world.fleet.apply(Changes(sequence=2, replicas=(a_replica(),)), world.clock.now)
    await world.step()
    assert world.loads.asked[-1] == ("m", "two", True)


async def test_a_silent_node_is_no_place() -> None:
    world = World(a_node(), a_model(), Policy("m", min_replicas=1))
    world.clock.advance(31)
    assert world.look() == []
    world.clock.advance(10)
    world.hear()
    assert [type(step) for step in world.look()] == [Grow]


async def test_no_step_is_made_for_a_model_that_is_being_loaded() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    job = LoadJob(id="l-1", model="m", revision="rev1", shared=True, owner="another router")
    world.fleet.apply(Changes(sequence=2, loads=(job,)))
    assert world.look() == []


async def test_a_bug_in_one_step_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = KeyError("a bug")
    await world.step()
    assert [r.message for r in caplog.records if r.levelname == "ERROR"] == ["reconciling_broke"]


@pytest.mark.parametrize("broken", ["next_step", "decide"])
async def test_a_model_that_breaks_a_look_is_passed_over_and_told_once(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sound = getattr(weft_router.reconciler, broken)

    def breaks(first: Any, *args: Any, **more: Any) -> Any:
        model = first.model.name if isinstance(first, Request) else first
        if model == "bad":
            raise KeyError("a bug")
        return sound(first, *args, **more)

    monkeypatch.setattr(weft_router.reconciler, broken, breaks)
    policies = [Policy(name, min_replicas=1) for name in ("bad", "m")]
    world = World(*TWO, a_model("bad"), a_model(), *policies, warmth=FakeWarmth((Grow("n", "expected"),)))
    world.change(a_model("n"))
    await world.lease.renew()
    async with asyncio.timeout(5), background(world.reconciler.run()):
        while len(world.loads.asked) < 2:
            await asyncio.sleep(0.01)
    assert [step.model for step in world.look()] == ["m", "n"]
    assert [r.message for r in caplog.records if r.levelname == "ERROR"] == ["reconciling_broke"]


async def test_what_keeps_models_warm_may_break_and_policies_hold_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warmth = FakeWarmth()
    world = World(*TWO, a_model(), Policy("m", min_replicas=1), warmth=warmth)
    monkeypatch.setattr(FakeWarmth, "steps", lambda *_: 1 / 0)
    assert [step.model for step in world.look()] == ["m"]
    assert [r.message for r in caplog.records if r.levelname == "ERROR"] == ["reconciling_broke"]


async def test_so_many_steps_at_once_and_no_more() -> None:
    names = [f"m{n}" for n in range(20)]
    world = World(*TWO, *map(a_model, names), *(Policy(name, min_replicas=1) for name in names))
    assert len(world.look()) == 8
    assert all(isinstance(step, Grow) for step in world.look())


async def test_loads_hold_up_no_unload() -> None:
    names = [f"m{n}" for n in range(20)]
    stale = a_replica(revision="former", model="old")
    world = World(*TWO, stale, *map(a_model, names), *(Policy(name, min_replicas=1) for name in names))
    assert [step.model for step in world.look() if isinstance(step, Shrink)] == ["old"]


async def test_what_keeps_models_warm_counts_among_the_steps() -> None:
    names = [f"m{n}" for n in range(20)]
    warmth = FakeWarmth(tuple(Grow(name, "expected") for name in names))
    assert len(World(*TWO, *map(a_model, names), warmth=warmth).look()) == 8


async def test_only_the_router_that_leads_does_anything() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    await world.lead_elsewhere()
    await world.lease.renew()
    assert await world.reconciler.term() is None
    world.clock.advance(4)
    await world.lease.renew()
    async with asyncio.timeout(5), background(world.reconciler.run()):
        while not world.loads.asked:
            await asyncio.sleep(0.01)


async def test_nothing_is_decided_on_a_fleet_that_cannot_be_read() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    await world.lease.renew()
    assert await world.reconciler.term() == Fence("reconciler", 1)
    world.store.down = True
    assert await world.reconciler.term() is None


async def test_a_new_leader_reads_first_what_the_former_one_wrote() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.store.sequence = world.fleet.sequence
    assert [type(step) for step in world.look()] == [Grow]
    job = LoadJob(id="l-1", model="m", revision="rev1", shared=False, owner="elsewhere")
    await world.store.loads.claim(job, orphan=timedelta(seconds=5), cooldown=timedelta(seconds=5))
    await world.lease.renew()
    await world.reconciler.term()
    assert world.look() == []


@pytest.mark.parametrize("policy", [Policy("m", min_replicas=2), Policy("m", {"zone": "nowhere"})])
async def test_a_leader_that_slept_changes_nothing_and_is_counted(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(*TWO, a_model(), a_replica(), policy)
    await world.lease.renew()
    fence = await world.reconciler.term()
    world.clock.advance(4)
    await world.lead_elsewhere()
    assert len(await world.step(fence)) == 1
    assert (world.loads.asked, world.unloads.unloaded) == ([], [])
    assert [row.refused_count for row in await world.store.leases.read()] == [1]
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == ["effect_refused"]


async def test_what_a_former_term_gave_up_on_is_tried_anew() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    await world.lease.renew()
    world.loads.error = LoadFailed("out of memory at layer 7")
    assert await world.asked_after(60) == 3
    await world.lease.renew()
    await world.reconciler.term()
    assert await world.asked_after(1) == 1
