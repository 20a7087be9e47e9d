"""What is free on a device, whatever is on its way."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.router.builders import GIB, a_device, a_fleet, a_held_replica, a_node, a_replica
from weft_router.fleet.entities import Changes, Device, NodeState, Replica, ReplicaState, Share
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.memory import vacant


def free(fleet: Fleet) -> dict[str, float]:
    return {r.device_id: r.spare_bytes / GIB for r in fleet.snapshot().by_id["n-one"].rooms}


def heartbeat(fleet: Fleet, free_gib: float, *reported: Replica) -> None:
    fleet.measure("n-one", (a_device(free_gib),), reported)


def test_what_others_use_is_not_free() -> None:
    assert free(a_fleet(a_node(free_gib=3), a_held_replica("r-1", "m", 2))) == {"cpu": 1}


def test_a_measurement_replaces_the_estimate_once_the_replica_is_loaded() -> None:
    planned = replace(a_held_replica("r-1", "m", 6), memory_bytes=0)
    fleet = a_fleet(a_node(free_gib=16), planned)
    assert free(fleet) == {"cpu": 10}
    heartbeat(fleet, 13, replace(planned, state=ReplicaState.LOADING, memory_bytes=3 * GIB))
    assert free(fleet) == {"cpu": 10}
    heartbeat(fleet, 12, replace(planned, memory_bytes=4 * GIB))
    assert free(fleet) == {"cpu": 12}


def test_what_a_replica_held_while_it_loaded_is_not_taken_twice_until_it_is_measured_anew() -> None:
    """Such a heartbeat tells nothing of the replica, while its memory is in use."""
    planned = replace(a_held_replica("r-1", "m", 6), memory_bytes=0)
    fleet = a_fleet(a_node(free_gib=16), planned)
    heartbeat(fleet, 13, replace(planned, state=ReplicaState.LOADING, memory_bytes=3 * GIB))
    heartbeat(fleet, 13, planned)
    assert free(fleet) == {"cpu": 10}


def test_memory_of_a_replica_that_is_gone_is_free_from_the_next_heartbeat_on() -> None:
    held = a_held_replica("r-1", "m", 6)
    fleet = a_fleet(a_node(free_gib=16), held)
    heartbeat(fleet, 10, held)
    fleet.apply(Changes(sequence=2, gone_replicas=("r-1",)))
    assert free(fleet) == {"cpu": 10}
    heartbeat(fleet, 16)
    assert free(fleet) == {"cpu": 16}


def test_memory_that_a_worker_confirmed_free_is_free_as_soon_as_the_row_goes() -> None:
    held = a_held_replica("r-1", "m", 6)
    fleet = a_fleet(a_node(free_gib=16), held)
    heartbeat(fleet, 10, held)
    fleet.freed("r-1")
    assert free(fleet) == {"cpu": 10}
    fleet.apply(Changes(sequence=2, gone_replicas=("r-1",)))
    assert free(fleet) == {"cpu": 16}
    heartbeat(fleet, 16)
    assert free(fleet) == {"cpu": 16}


def test_at_a_router_without_the_nodes_heartbeats_memory_comes_free_after_a_while_of_reports() -> None:
    """Found by the simulation: such a router took the memory for lost until its next restart."""
    held = a_held_replica("r-1", "m", 6)
    fleet = a_fleet(a_node(free_gib=16), held)
    heartbeat(fleet, 10, held)
    fleet.apply(Changes(sequence=2, gone_replicas=("r-1",)), now=100)
    fleet.report("n-one", {}, now=129)
    assert free(fleet) == {"cpu": 10}
    fleet.report("n-one", {}, now=131)
    assert free(fleet) == {"cpu": 16}


def test_a_late_heartbeat_with_a_replica_that_is_gone_costs_its_memory_for_a_while_only() -> None:
    """Found by the simulation: a router that got no further heartbeat of the node took the memory for lost."""
    gpus = tuple(Device(f"g{i}", "A", "nvidia", 24 * GIB, 24 * GIB) for i in range(2))
    held = a_replica(shares=(Share("g0", 12 * GIB), Share("g1", 4 * GIB)), memory_bytes=8 * GIB)
    fleet = a_fleet(a_node(devices=gpus), held)
    fleet.apply(Changes(sequence=2, gone_replicas=(held.id,)), now=90)
    fleet.hear("n-one", 100)
    measured = tuple(replace(g, free_bytes=g.free_bytes - n * GIB) for g, n in zip(gpus, (6, 2), strict=True))
    fleet.measure("n-one", measured, [replace(held, shares=())])
    fleet.report("n-one", {}, now=129)
    assert free(fleet) == {"g0": 18, "g1": 22}
    fleet.report("n-one", {}, now=130)
    assert free(fleet) == {"g0": 24, "g1": 24}


def test_a_replica_whose_row_comes_after_its_heartbeat_keeps_its_memory() -> None:
    held = a_held_replica("r-1", "m", 6)
    fleet = a_fleet(a_node(free_gib=16))
    heartbeat(fleet, 10, held)
    fleet.apply(Changes(sequence=2, replicas=(held,)), now=1)
    fleet.report("n-one", {}, now=100)
    assert free(fleet) == {"cpu": 10}


def test_what_was_confirmed_free_does_not_come_free_a_second_time() -> None:
    held = a_held_replica("r-1", "m", 6)
    fleet = a_fleet(a_node(free_gib=9), held)
    heartbeat(fleet, 3, held)
    fleet.freed("r-1")
    fleet.freed("r-1")
    fleet.apply(Changes(sequence=2, gone_replicas=("r-1",)), now=100)
    fleet.report("n-one", {}, now=200)
    assert free(fleet) == {"cpu": 9}


def test_what_a_heartbeat_measured_never_gets_into_the_nodes_row() -> None:
    """Found by the simulation: a node that was marked unhealthy was written with what it had free just then."""
    held = a_held_replica("r-1", "m", 6)
    fleet = a_fleet(a_node(free_gib=16), held)
    heartbeat(fleet, 10, held)
    other = a_fleet(replace(fleet.nodes["n-one"], state=NodeState.UNHEALTHY), held)
    assert (free(fleet), free(other)) == ({"cpu": 10}, {"cpu": 10})


def test_a_node_that_registers_with_replicas_is_written_as_if_it_had_none() -> None:
    held = a_held_replica("r-1", "m", 6)
    unknown = replace(held, id="r-2", shares=(), memory_bytes=GIB)
    devices = vacant((a_device(free_gib=8),), (held, unknown))
    assert devices == (a_device(free_gib=15),)
    assert free(a_fleet(a_node(devices=devices), held)) == {"cpu": 9}


def test_a_machine_with_accelerators_does_not_offer_its_cpu() -> None:
    gpu = Device("g0", "H200", "nvidia", 141 * GIB, 140 * GIB)
    assert free(a_fleet(a_node(devices=(a_device(), gpu)))) == {"g0": 140}


def test_a_split_replica_holds_its_part_on_each_device() -> None:
    gpus = tuple(Device(f"g{i}", "A", "nvidia", 24 * GIB, 24 * GIB) for i in range(2))
    split = a_replica(shares=(Share("g0", 12 * GIB), Share("g1", 4 * GIB)), memory_bytes=8 * GIB)
    assert free(a_fleet(a_node(devices=gpus), split)) == {"g0": 18, "g1": 22}


def test_a_restarted_workers_devices_are_taken_as_it_registers_them() -> None:
    fleet = a_fleet(a_node(free_gib=16))
    heartbeat(fleet, 5)
    fleet.apply(Changes(sequence=2, nodes=(a_node(free_gib=16, address="127.0.0.1:9"),)))
    assert free(fleet) == {"cpu": 5}
    fleet.apply(Changes(sequence=3, nodes=(a_node(free_gib=15, generation=2),)))
    assert free(fleet) == {"cpu": 15}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=6), st.integers(0, 16)
)
def test_never_more_is_free_than_either_account_says(
    held: list[tuple[int, int, bool]], free_gib: int
) -> None:
    replicas = [
        replace(a_held_replica(f"r-{i}", f"m{i}", plan), memory_bytes=seen * GIB, index=i)
        for i, (plan, seen, _) in enumerate(held)
    ]
    fleet = a_fleet(a_node(free_gib=16), *replicas)
    shown = [
        replace(r, state=ReplicaState.READY if done else ReplicaState.LOADING)
        for r, (*_, done) in zip(replicas, held, strict=True)
    ]
    fleet.measure("n-one", (a_device(free_gib),), shown)
    assert free(fleet)["cpu"] <= free_gib
    assert free(fleet)["cpu"] <= 16 - sum(seen for _, seen, _ in held)
