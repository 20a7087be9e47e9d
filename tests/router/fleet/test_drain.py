"""Draining really waits for what is in flight."""

from tests.router.builders import a_fleet, a_node, a_replica
from weft_router.fleet.drain import DrainStep, drain_step
from weft_router.fleet.entities import NodeState, ReplicaState
from weft_router.fleet.fleet import Fleet

BUSY, IDLE = a_replica("r-busy"), a_replica("r-idle", index=1)


def a_draining_fleet(*replicas) -> Fleet:  # type: ignore[no-untyped-def]
    fleet = a_fleet(a_node(state=NodeState.DRAINING), *replicas)
    fleet.report("n-one", {"r-busy": 2}, 0)
    return fleet


def step(fleet: Fleet, now: float = 0) -> DrainStep:
    return drain_step(fleet.snapshot().by_id["n-one"], now=now, deadline=30)


def test_idle_replicas_go_and_busy_ones_finish() -> None:
    assert step(a_draining_fleet(BUSY, IDLE)) == DrainStep((IDLE,), (), False)


def test_a_replica_goes_once_it_has_finished() -> None:
    fleet = a_draining_fleet(BUSY)
    assert step(fleet) == DrainStep((), (), False)
    fleet.report("n-one", {"r-busy": 0}, 5)
    assert step(fleet) == DrainStep((BUSY,), (), False)


def test_a_load_under_way_ends_at_once_and_what_unloads_is_left_alone() -> None:
    loading = a_replica("r-2", index=2, state=ReplicaState.LOADING)
    unloading = a_replica("r-3", index=3, state=ReplicaState.UNLOADING)
    assert step(a_draining_fleet(loading, unloading)) == DrainStep((loading,), (), False)


def test_at_the_deadline_the_rest_is_stopped_by_force() -> None:
    assert step(a_draining_fleet(BUSY, IDLE), now=30) == DrainStep((), (BUSY, IDLE), False)


def test_a_node_without_replicas_is_drained() -> None:
    assert step(a_draining_fleet()) == DrainStep((), (), True)
