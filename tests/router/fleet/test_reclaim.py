"""Which replica makes room where memory is short: one that holds some there, and only while that helps."""

from dataclasses import replace

from tests.router.builders import GIB, a_fleet, a_held_replica, a_model, a_node
from weft_router.fleet.entities import Changes, Device, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.idleness import IdleRules, idle_steps
from weft_router.fleet.memory import FullDevice
from weft_router.fleet.reclaim import Reclaim
from weft_router.fleet.unstored import Use

MODELS = ("m0", "m1", "m2", "m3")


class Node:
    """Two GPUs with four idle replicas of 4 GiB, two on each; the one of m0 has been idle the longest, and so on."""

    def __init__(self, *, devices: int = 2) -> None:
        node = a_node(
            devices=tuple(Device(f"g{n}", "GPU", "nvidia", 24 * GIB, 0) for n in range(devices)),
            max_replicas_per_model=4,
        )
        replicas = [
            a_held_replica(f"r-{n}", model, 4, device=f"g{(n // 2) % devices}")
            for n, model in enumerate(MODELS)
        ]
        self.fleet: Fleet = a_fleet(node, *map(a_model, MODELS), *replicas)
        for n, replica in enumerate(replicas):
            self.fleet.report(node.id, {replica.id: 1}, n + 1.0)
            self.fleet.report(node.id, {replica.id: 0}, n + 2.0)
        self.now, self.sequence, self.reclaim = 1000.0, 1, Reclaim()

    def look(self, *full: FullDevice, seconds: float = 1.0) -> list[str]:
        """Who is to go by this look, with these devices full; they are on their way afterwards."""
        self.now += seconds
        self.fleet.report("n-one", {}, self.now)
        self.fleet.note_uses("n-one", {i: Use(1) for i in self.fleet.replicas}, self.now, full=full)
        steps = list(idle_steps(self.fleet.snapshot(), now=self.now, rules=IdleRules(), reclaim=self.reclaim))
        leaving = tuple(replace(s.replica, state=ReplicaState.UNLOADING) for s in steps)
        self._apply(Changes(replicas=leaving))
        return [s.replica.id for s in steps]

    def gone(self, *replica_ids: str) -> None:
        self._apply(Changes(gone_replicas=replica_ids))

    def back(self, replica_id: str) -> None:
        self._apply(Changes(replicas=(a_held_replica(replica_id, "m0", 4, device="g0"),)))

    def _apply(self, changes: Changes) -> None:
        self.sequence += 1
        self.fleet.apply(replace(changes, sequence=self.sequence), self.now)


def full(device_id: str, use: float, excess_gib: float) -> FullDevice:
    return FullDevice(device_id, use, int(excess_gib * GIB))


def test_only_what_holds_memory_of_a_full_device_goes() -> None:
    node = Node()
    assert node.look(full("g1", 0.98, 1)) == ["r-2"]


def test_the_reason_names_the_device() -> None:
    node = Node()
    node.fleet.note_uses("n-one", {}, 1000, full=(full("g1", 0.98, 1),))
    node.fleet.report("n-one", {}, 1000)
    (step,) = idle_steps(node.fleet.snapshot(), now=1000, rules=IdleRules())
    assert step.reason == "98% of the memory of g1 of one are in use"


def test_the_fullest_device_comes_first_and_another_if_nothing_is_idle_there() -> None:
    both = (full("g0", 0.96, 1), full("g1", 0.98, 1))
    assert Node().look(*both) == ["r-2"]
    node = Node()
    node.fleet.report("n-one", {"r-2": 1, "r-3": 1}, 999)
    assert node.look(*both) == ["r-0"]


def test_one_after_the_other_goes_while_each_brings_something_and_the_next_only_once_that_is_measured() -> (
    None
):
    node = Node()
    assert node.look(full("g0", 0.99, 6)) == ["r-0"]
    assert node.look(full("g0", 0.99, 6)) == []
    node.gone("r-0")
    assert [node.look(full("g0", 0.99, 6)) for _ in range(3)] == [[], [], []]
    assert node.look(full("g0", 0.97, 2)) == ["r-1"]
    node.gone("r-1")
    assert node.look() == []


def test_where_the_last_one_brought_nothing_no_other_goes_for_five_minutes() -> None:
    node = Node()
    assert node.look(full("g0", 0.99, 6)) == ["r-0"]
    node.gone("r-0")
    for _ in range(300):
        assert node.look(full("g0", 0.99, 6)) == []
    assert node.look(full("g0", 0.99, 6), seconds=2) == ["r-1"]


def test_what_others_hold_has_not_everything_unloaded_nor_anew_after_each_load() -> None:
    """12 GiB too much, of which 8 are ours: each one brings its 4, and all of them not enough."""
    node = Node()
    assert node.look(full("g0", 1.0, 12)) == ["r-0"]
    node.gone("r-0")
    assert [node.look(full("g0", 0.9, 8)) for _ in range(100)] == [[]] * 100
    node.back("r-5")
    assert [node.look(full("g0", 1.0, 12)) for _ in range(100)] == [[]] * 100


def test_a_device_that_had_enough_meanwhile_is_another_case() -> None:
    node = Node()
    assert node.look(full("g0", 0.99, 6)) == ["r-0"]
    node.gone("r-0")
    assert [node.look(full("g0", 0.99, 6)) for _ in range(5)] == [[]] * 5
    assert node.look() == []
    assert node.look(full("g0", 0.99, 6)) == ["r-1"]


def test_one_that_was_to_go_and_did_not_is_asked_again() -> None:
    node = Node()
    assert node.look(full("g0", 0.99, 6)) == ["r-0"]
    node.back("r-0")
    node.fleet.report("n-one", {"r-0": 1}, node.now)
    assert node.look(full("g0", 0.99, 6)) == ["r-1"]


def test_on_a_node_of_one_device_it_is_plain_where_a_replica_is() -> None:
    node = Node(devices=1)
    node.now = 999
    assert node.look(full("g0", 0.98, 1)) == ["r-0"]
