"""What the journal is told of nodes: each change once, by the router that wrote it, and why."""

from datetime import timedelta

from tests.router.nodes.world import Router, a_router, call, routers, running
from weft_proto.weft.admin.v1 import (
    ApproveNodeRequest,
    DeleteNodeRequest,
    DrainNodeRequest,
    PatchNodeLabelsRequest,
    ResumeNodeRequest,
    SetMaxReplicasPerModelRequest,
)
from weft_proto.weft.node.v1 import DeregisterNodeRequest

OLD = 1_000.0


def told(router: Router) -> list[tuple[str, str]]:
    """What was told, and why."""
    return [(event.what, event.why) for event in router.journal.waiting]


async def test_the_way_of_a_node_into_the_fleet_is_told() -> None:
    async with routers() as (router,):
        await router.register()
        for _ in range(2):
            await router.admin.approve_node(ApproveNodeRequest(id="one"))
        await router.register()
        assert told(router) == [
            ("node_joined", "its worker registered, and waits for an admin's approval"),
            ("node_approved", "an admin let it in"),
            ("node_returned", "its worker registered again"),
        ]
        assert {event.node for event in router.journal.waiting} == {"one"}
        assert [event.details["state"] for event in router.journal.waiting] == [
            "pending",
            "healthy",
            "healthy",
        ]


async def test_an_order_is_told_once_however_often_it_is_given() -> None:
    async with a_router() as router:
        await router.register()
        for _ in range(2):
            labels = PatchNodeLabelsRequest(id="one", labels={"zone": "eu"})
            await router.admin.patch_node_labels(labels)
            await router.admin.set_max_replicas_per_model(SetMaxReplicasPerModelRequest(id="one", value=3))
        await router.admin.drain_node(DrainNodeRequest(id="one", timeout=timedelta(seconds=9)))
        for _ in range(2):
            await router.admin.resume_node(ResumeNodeRequest(id="one"))
        await router.admin.delete_node(DeleteNodeRequest(id="one"))
        assert told(router)[1:] == [
            ("node_labelled", "an admin changed its labels"),
            ("node_bounded", "an admin bounded it"),
            ("node_drained", "an admin asked for it"),
            ("node_resumed", "an admin asked for it"),
            ("node_drained", "an admin asked for it"),
            ("node_removed", "an admin removed it"),
        ]
        labelled, bounded = router.journal.waiting[1:3]
        assert (dict(labelled.details), dict(bounded.details)) == (
            {"labels": "zone=eu"},
            {"max_replicas": "3"},
        )


async def test_silence_and_return_are_told_with_age_and_what_was_lost() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        token = (await router.register(replicas=[running()])).node_token
        for _ in range(2):
            router.clock.advance(30)
            await router.keep.health.turn()
            await router.keep.health.turn()
        await router.beat(token, "one", running())
        events = router.journal.waiting[1:]
        assert [(e.what, e.why, e.details.get("before"), e.details["state"]) for e in events] == [
            ("node_state", "not heard for 30 s", "healthy", "unhealthy"),
            ("node_state", "not heard for 60 s", "unhealthy", "offline"),
            ("replica_lost", "nobody can reach its node", None, "ready"),
            ("node_state", "heard again", "offline", "healthy"),
        ]
        assert (events[0].details["age_seconds"], events[2].replica_id) == ("30.0", "r-1")


async def test_two_routers_tell_of_one_silence_once() -> None:
    async with routers(2, auto_approve_nodes=True) as (first, second):
        first.clock.advance(OLD)
        await first.register()
        await second.sync.refresh()
        first.clock.advance(40)
        for router in (first, second):
            await router.keep.health.turn()
        assert sorted(e.what for r in (first, second) for e in r.journal.waiting) == [
            "node_joined",
            "node_state",
        ]


async def test_a_replica_that_its_worker_runs_no_longer_is_told() -> None:
    async with a_router() as router:
        router.clock.advance(OLD)
        token = (await router.register(replicas=[running()])).node_token
        await router.beat(token, "one", running())
        router.clock.advance(10)
        await router.beat(token, "one")
        assert router.journal.told[1:] == [("replica_gone", "m", "one", "r-1")]
        assert "nobody had asked for that" in router.journal.waiting[-1].why


async def test_a_goodbye_is_told() -> None:
    async with a_router() as router:
        token = (await router.register()).node_token
        with call(token):
            await router.workers.deregister_node(DeregisterNodeRequest(id=router.node().id))
        assert told(router)[1:] == [("node_left", "its worker said goodbye")]
