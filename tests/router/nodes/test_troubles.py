"""A worker says that a replica hangs: everybody knows, and it is told when that is over."""

from tests.router.nodes.world import a_router, running

HUNG = "its process is stopped"


async def test_a_hung_replica_is_told_once_and_so_is_its_recovery() -> None:
    async with a_router() as router:
        token = (await router.register(replicas=[running()])).node_token
        for problem in (HUNG, HUNG, "", ""):
            await router.beat(token, "one", running(problem=problem))
            assert router.fleet.replicas["r-1"].problem == problem
            assert list(router.keep.portraits.node(router.node()).problems) == (
                [f"m#0: {problem}"] if problem else []
            )
        told = [e for e in router.journal.waiting if e.what in ("replica_hung", "replica_recovered")]
    assert [(e.what, e.why, e.details.get("before", "")) for e in told] == [
        ("replica_hung", HUNG, ""),
        ("replica_recovered", "it answers", HUNG),
    ]
