"""Drains: what is in flight finishes, idle replicas go, and at the deadline the rest."""

from datetime import timedelta

from tests.router.fakes import FakeWorker
from tests.router.nodes.world import Router, a_router, running
from weft_proto.weft.admin.v1 import DrainNodeRequest, ResumeNodeRequest
from weft_router.fleet.entities import NodeState, ReplicaState

STOPPED = "weft.node.{}.backend.stop"


class Stops:
    """What a node's worker was told to stop; it does not obey."""

    def __init__(self, router: Router) -> None:
        self.worker = FakeWorker(router.bus, router.node().id, "", None)  # type: ignore[arg-type]  # no backend
        self.worker.listen()

    @property
    def seen(self) -> list[str]:
        return self.worker.stopped


def state_of(router: Router, replica_id: str) -> ReplicaState:
    return router.fleet.replicas[replica_id].state


async def drained(router: Router, **timeout: float) -> Stops:
    """A node with an idle and a busy replica, draining."""
    await router.register(replicas=[running("r-idle"), running("r-busy", index=1)])
    router.fleet.report(router.node().id, {"r-idle": 0, "r-busy": 2}, router.clock.monotonic())
    wanted = DrainNodeRequest(id="one", timeout=timedelta(**timeout) if timeout else None)
    answer = await router.admin.drain_node(wanted)
    assert answer.node is not None
    assert answer.node.drain_deadline is not None
    return Stops(router)


async def test_a_draining_node_serves_nothing_new_and_keeps_what_is_busy() -> None:
    async with a_router() as router:
        stops = await drained(router)
        await router.keep.drains.look()
        assert (router.node().state, router.fleet.ready_replicas("m")) == (NodeState.DRAINING, [])
        assert stops.seen == []
        router.clock.advance(2)
        await router.keep.drains.look()
        assert stops.seen == ["r-idle"]
        assert (state_of(router, "r-idle"), state_of(router, "r-busy")) == (
            ReplicaState.UNLOADING,
            ReplicaState.READY,
        )


async def test_a_busy_replica_goes_when_it_is_idle() -> None:
    async with a_router() as router:
        stops = await drained(router)
        await router.keep.drains.look()
        router.fleet.report(router.node().id, {"r-busy": 0}, router.clock.monotonic())
        router.clock.advance(2)
        await router.keep.drains.look()
        assert stops.seen == ["r-idle", "r-busy"]


async def test_at_the_deadline_the_rest_goes_by_force_and_that_is_not_said_all_the_time() -> None:
    async with a_router() as router:
        stops = await drained(router, seconds=10)
        router.clock.advance(10)
        await router.keep.drains.look()
        await router.keep.drains.look()
        assert stops.seen == ["r-idle", "r-busy"]
        router.clock.advance(5)
        await router.keep.drains.look()
        assert stops.seen == ["r-idle", "r-busy"] * 2


async def test_the_deadline_is_by_the_clock_that_all_routers_ask() -> None:
    async with a_router() as router:
        router.store.skew_seconds = 3600
        stops = await drained(router, seconds=10)
        assert router.node().drain_deadline == router.clock.wall() + 3610
        router.clock.advance(9)
        await router.keep.drains.look()
        assert stops.seen == []
        router.clock.advance(1)
        await router.keep.drains.look()
        assert stops.seen == ["r-idle", "r-busy"]


async def test_a_drain_that_is_done_asks_nobody_for_the_time() -> None:
    async with a_router() as router:
        await router.register()
        await router.admin.drain_node(DrainNodeRequest(id="one"))
        router.store.down = True
        await router.keep.drains.look()


async def test_a_resumed_node_serves_with_what_still_runs() -> None:
    async with a_router() as router:
        await drained(router)
        await router.keep.drains.look()
        router.clock.advance(2)
        await router.keep.drains.look()
        answer = await router.admin.resume_node(ResumeNodeRequest(id="one"))
        assert answer.node is not None
        assert answer.node.drain_deadline is None
        assert router.node().state is NodeState.HEALTHY
        assert [r.id for r in router.fleet.ready_replicas("m")] == ["r-busy"]
        router.clock.advance(100)
        await router.keep.drains.look()
        assert state_of(router, "r-busy") is ReplicaState.READY


async def test_commands_from_before_the_drain_are_late() -> None:
    async with a_router() as router:
        await router.register()
        before = router.node().generation
        await router.admin.drain_node(DrainNodeRequest(id="one"))
        assert router.node().generation > before


async def test_a_router_that_slept_takes_no_step_of_a_drain_and_that_is_counted() -> None:
    async with a_router() as router:
        stops = await drained(router)
        await router.keep.drains.look()
        router.clock.advance(2)
        router.store.leases.ends["nodes"] = router.clock.monotonic()
        await router.store.leases.hold("nodes", "elsewhere", ttl=timedelta(days=1))
        await router.keep.drains.look()
        assert (stops.seen, state_of(router, "r-idle")) == ([], ReplicaState.READY)
        assert [row.refused_count for row in await router.store.leases.read()] == [1]
        await router.lease.renew()
        await router.keep.drains.look()
        assert [row.refused_count for row in await router.store.leases.read()] == [2]  # of the renewal
