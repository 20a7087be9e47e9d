"""What placement sees of the fleet."""

from tests.router.builders import GIB, a_device, a_model, a_node, a_replica
from weft_router.fleet.entities import Changes, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.placement.view import candidates, request_for


def test_reserved_memory_is_not_free() -> None:
    fleet = Fleet()
    fleet.apply(Changes(nodes=(a_node(free_gib=8),)))
    (candidate,) = candidates(fleet, {"n-one": 3 * GIB})
    assert candidate.free_bytes == 5 * GIB


def test_a_model_sits_on_the_roomiest_device() -> None:
    fleet = Fleet()
    fleet.apply(Changes(nodes=(a_node(devices=(a_device(2), a_device(5))),)))
    assert candidates(fleet, {})[0].free_bytes == 5 * GIB


def test_unknown_memory_stays_unknown() -> None:
    fleet = Fleet()
    fleet.apply(Changes(nodes=(a_node(devices=(a_device(0, 0),)),)))
    assert candidates(fleet, {})[0].free_bytes is None


def test_failed_replicas_hold_no_place() -> None:
    fleet = Fleet()
    failed = a_replica(state=ReplicaState.FAILED)
    fleet.apply(Changes(nodes=(a_node(),), replicas=(failed,)))
    assert candidates(fleet, {})[0].replicas == ()


def test_a_model_needs_its_weights_and_a_process_and_nothing_is_known_without_a_size() -> None:
    assert request_for(a_model(size_bytes=GIB)).need_bytes > GIB
    assert request_for(a_model(size_bytes=0)).need_bytes == 0
