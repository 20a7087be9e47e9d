"""Nodes age, and come back; and nobody ages while nobody could listen."""

from datetime import timedelta

import pytest

from tests.router.builders import a_replica
from tests.router.nodes.world import Router, a_router, call, calling, routers, running
from weft_common.errors import InvalidToken
from weft_proto.weft.node.v1 import DeregisterNodeRequest
from weft_router.fleet.entities import NodeState, ReplicaState

OLD = 1_000.0


async def test_a_silent_node_is_unhealthy_and_then_offline_without_its_replicas() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        await router.register(replicas=[running()])
        router.clock.advance(30)
        await router.keep.health.turn()
        assert router.node().state is NodeState.UNHEALTHY
        assert [r.id for r in router.fleet.ready_replicas("m")] == ["r-1"]
        router.clock.advance(30)
        await router.keep.health.turn()
        assert (router.node().state, router.fleet.replicas) == (NodeState.OFFLINE, {})


async def test_the_first_heartbeat_after_a_partition_brings_node_and_replicas_back() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        answer = await router.register(replicas=[running()])
        router.clock.advance(60)
        await router.keep.health.turn()
        router.clock.advance(10)
        beat = await router.beat(answer.node_token, "one", running())
        assert beat.stop_replica_ids == []
        assert router.node().state is NodeState.HEALTHY
        assert [r.id for r in router.fleet.ready_replicas("m")] == ["r-1"]


async def test_what_was_asked_to_unload_is_still_asked_after_a_partition() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        answer = await router.register(replicas=[running()])
        await router.unloads.unload([router.fleet.replicas["r-1"]], force=False)
        router.clock.advance(60)
        await router.keep.health.turn()
        assert router.fleet.replicas["r-1"].state is ReplicaState.UNLOADING
        beat = await router.beat(answer.node_token, "one", running())
        assert beat.stop_replica_ids == ["r-1"]


async def test_a_heartbeat_at_another_router_counts() -> None:
    async with routers(2, auto_approve_nodes=True) as (first, second):
        first.clock.advance(OLD)
        answer = await first.register()
        for _ in range(10):
            first.clock.advance(20)
            await first.beat(answer.node_token)
            await first.keep.ages.tell()
            await second.keep.health.turn()
        assert second.node().state is NodeState.HEALTHY


async def test_watchers_of_another_router_learn_of_a_heartbeat_and_its_age() -> None:
    async with routers(2, auto_approve_nodes=True) as (first, second):
        answer = await first.register()
        await second.sync.refresh()
        watch = second.sync.watch(second.clock.monotonic())
        await anext(watch)
        first.clock.advance(20)
        await first.beat(answer.node_token)
        await first.keep.ages.tell()
        first.clock.advance(3)
        await second.keep.ages.read()
        (heard,) = (await anext(watch)).heard
        assert (heard.node_id, heard.age.ToTimedelta()) == (first.node().id, timedelta(seconds=3))
        await second.sync.refresh()
        late = second.sync.watch(second.clock.monotonic())
        assert [h.node_id for h in (await anext(late)).heard] == [first.node().id]


async def test_a_node_that_returns_at_one_router_is_not_judged_by_an_old_age_at_another() -> None:
    async with routers(2, auto_approve_nodes=True) as (first, second):
        first.clock.advance(OLD)
        answer = await first.register()
        first.clock.advance(70)
        await second.keep.health.turn()
        assert second.node().state is NodeState.OFFLINE
        await first.sync.refresh()
        await first.beat(answer.node_token)
        await second.keep.health.turn()
        assert second.node().state is NodeState.HEALTHY


async def test_a_registration_is_not_judged_by_an_old_age() -> None:
    async with routers(2, auto_approve_nodes=True) as (first, second):
        await first.register()
        first.clock.advance(OLD)
        await second.keep.health.turn()
        await first.register()
        await second.keep.health.turn()
        assert second.node().state is NodeState.HEALTHY


async def test_a_router_that_has_just_started_calls_nobody_silent() -> None:
    async with a_router() as router:
        await router.register()
        router.clock.advance(59)
        await router.keep.health.turn()
        assert router.node().state is NodeState.HEALTHY


async def test_an_outage_of_the_database_makes_nobody_old() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        await router.register(replicas=[running()])
        router.store.down = True
        router.clock.advance(300)
        await router.keep.health.turn()
        router.store.down = False
        await router.keep.health.turn()
        assert (router.node().state, list(router.fleet.replicas)) == (NodeState.HEALTHY, ["r-1"])
        router.clock.advance(60)
        await router.keep.health.turn()
        assert router.node().state is NodeState.OFFLINE


async def test_nothing_is_written_while_nothing_changes() -> None:
    async with a_router() as router:
        answer = await router.register()
        before = router.store.sequence
        for _ in range(20):
            router.clock.advance(10)
            await router.beat(answer.node_token)
            await router.keep.ages.tell()
            await router.keep.health.turn()
        assert router.store.sequence == before


async def test_a_goodbye_is_offline_at_once_and_stays_so() -> None:
    async with routers(2, auto_approve_nodes=True) as (first, second):
        answer = await first.register(replicas=[running()])
        goodbye = DeregisterNodeRequest(id=first.node().id)
        await second.sync.refresh()
        await calling(answer.node_token, first.workers.deregister_node, goodbye)
        # A late report, and a heartbeat that another router still believes.
        second.fleet.hear(first.node().id, first.clock.monotonic())
        await second.beat(answer.node_token, "one", running())
        for router in (first, second):
            await router.keep.ages.tell()
            await router.keep.health.turn()
            assert router.node().state is NodeState.OFFLINE
            assert router.fleet.ready_replicas("m") == []
        with call(answer.node_token), pytest.raises(InvalidToken):
            await first.workers.deregister_node(goodbye)
        await first.register()
        assert first.node().state is NodeState.HEALTHY


async def test_a_replica_of_a_removed_node_does_not_stay() -> None:
    async with a_router() as router:
        await router.store.put_replica(a_replica(node_id="n-removed"))
        await router.keep.health.turn()
        assert router.fleet.replicas == {}


async def test_a_draining_node_that_is_lost_drains_on() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        await router.register(replicas=[running()])
        await router.keep.orders.drain(router.node().id, router.settings.drain_timeout, by_itself=False)
        router.clock.advance(100)
        await router.keep.health.turn()
        assert (router.node().state, router.fleet.replicas) == (NodeState.DRAINING, {})


async def _led_elsewhere(router: Router) -> None:
    """Another router begins the next term, and this one has not heard of it."""
    leases = router.store.leases
    leases.ends["nodes"] = router.clock.monotonic()
    await leases.hold("nodes", "elsewhere", ttl=timedelta(days=1))


async def test_only_the_router_that_leads_calls_a_node_silent() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        await router.register(replicas=[running()])
        await _led_elsewhere(router)
        await router.lease.renew()
        router.clock.advance(60)
        await router.keep.health.turn()
        assert (router.node().state, list(router.fleet.replicas)) == (NodeState.HEALTHY, ["r-1"])


async def test_a_router_that_slept_calls_no_node_silent_and_that_is_counted() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        await router.register(replicas=[running()])
        router.clock.advance(60)
        await _led_elsewhere(router)
        await router.keep.health.turn()
        assert (router.node().state, list(router.fleet.replicas)) == (NodeState.HEALTHY, ["r-1"])
        assert [row.refused_count for row in await router.store.leases.read()] == [1]
