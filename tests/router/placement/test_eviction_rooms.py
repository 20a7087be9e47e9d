"""Eviction and memory that is on its way: what comes free anyway, what is promised, and several devices."""

from dataclasses import replace
from typing import Any

import pytest

from tests.router.builders import GIB, a_held_replica, a_node, a_replica
from tests.router.placement.evicting import NOW, a_world, decided, full_node, victims, wish
from weft_router.fleet.entities import Changes, Device, ReplicaState, Share
from weft_router.fleet.views import may_begin
from weft_router.placement.decision import Evict, Wait


def loading(gib: float, replica_id: str = "r-9", **fields: Any) -> Any:
    """A load that waits for the memory that it was promised."""
    share = Share("cpu", int(gib * GIB))
    return a_replica(
        replica_id, model="c", state=ReplicaState.LOADING, shares=(share,), begun=False, **fields
    )


def test_memory_that_is_coming_free_anyway_is_taken_without_evicting() -> None:
    leaving = a_held_replica("r-1", "a", 8, state=ReplicaState.UNLOADING)
    assert victims(wish(), a_world(full_node(), leaving, a_held_replica("r-2", "b", 8))) == set()


def test_memory_that_is_promised_to_another_load_is_not_promised_twice() -> None:
    leaving = a_held_replica("r-1", "a", 8, state=ReplicaState.UNLOADING)
    fleet = a_world(full_node(), leaving, loading(8), a_held_replica("r-2", "b", 8))
    assert victims(wish(), fleet) == {"r-2"}


@pytest.mark.parametrize(("promised", "gone"), [(8, {"r-2"}), (6, {"r-2"}), (10, {"r-2", "r-3"})])
def test_what_drains_slowly_counts_for_what_it_was_promised_to_only(promised: float, gone: set[str]) -> None:
    draining = a_held_replica("r-1", "a", 8, state=ReplicaState.UNLOADING)
    others = (a_held_replica("r-2", "b", 4), a_held_replica("r-3", "d", 4))
    fleet = a_world(full_node(), draining, loading(promised), *others, busy={"r-1": 1}, used={"r-3": 9})
    assert victims(wish(4), fleet) == gone


def test_a_load_begins_when_its_memory_is_free_and_not_before() -> None:
    leaving = a_held_replica("r-1", "a", 8, state=ReplicaState.UNLOADING)
    others = (loading(4, "r-8", index=1), a_held_replica("r-2", "b", 4))
    fleet = a_world(a_node(free_gib=4), leaving, loading(8), *others)

    def begins(replica_id: str) -> bool:
        return may_begin(fleet.snapshot().by_id["n-one"], replica_id)

    assert not begins("r-9")
    assert begins("r-8")
    fleet.freed("r-1")
    fleet.apply(Changes(sequence=2, gone_replicas=("r-1",)))
    assert begins("r-9")
    fleet.apply(Changes(sequence=3, replicas=(replace(loading(8), begun=True),)))
    assert begins("r-8")
    fleet.apply(Changes(sequence=4, replicas=(replace(loading(4, "r-8", index=1), begun=True),)))
    assert not begins("r-7")


def gpus(*free_gib: float) -> tuple[Device, ...]:
    return tuple(Device(f"g{i}", "A", "nvidia", 24 * GIB, int(f * GIB)) for i, f in enumerate(free_gib))


def test_on_several_devices_only_victims_of_one_device_help_a_model_that_fits_there() -> None:
    held = (
        a_held_replica("r-1", "a", 12, device="g0"),
        a_held_replica("r-2", "b", 12, device="g1"),
        a_held_replica("r-3", "c", 12, device="g1"),
    )
    fleet = a_world(a_node(devices=gpus(12, 0)), *held, used={"r-1": 900, "r-2": 100, "r-3": 200})
    assert victims(wish(20), fleet) == {"r-2", "r-3"}
    cheap = a_world(a_node(devices=gpus(12, 0)), *held, used={"r-1": 50, "r-2": 100, "r-3": 200})
    assert victims(wish(20), cheap) == {"r-1"}


def test_for_a_model_of_several_devices_room_is_made_on_several() -> None:
    held = (
        a_held_replica("r-1", "a", 12, device="g0"),
        a_held_replica("r-2", "b", 12, device="g1"),
        a_held_replica("r-3", "c", 4, device="g1"),
    )
    fleet = a_world(a_node(devices=gpus(12, 8)), *held, used={"r-1": 100, "r-2": 200, "r-3": 10})
    decision = decided(wish(30), fleet)
    assert isinstance(decision, Evict)
    assert {r.id for r in decision.victims} == {"r-1"}
    assert {s.device_id for s in decision.shares} == {"g0", "g1"}


def test_what_is_promised_to_a_load_that_waits_itself_is_waited_for() -> None:
    fleet = a_world(
        full_node(),
        a_held_replica("r-slow", "slow", 16, state=ReplicaState.UNLOADING),
        a_replica(
            "r-next", model="next", state=ReplicaState.LOADING, begun=False, shares=(Share("cpu", 16 * GIB),)
        ),
        busy={"r-slow": 1},
    )
    decision = decided(wish(deadline=NOW + 60), fleet)
    assert isinstance(decision, Wait), decision
