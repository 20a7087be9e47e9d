"""Replicas by model and by node, kept level with those by identity."""

from tests.gateway.builders import a_replica
from weft_gateway.replicas import Replicas


def test_replicas_are_found_by_model_and_models_by_node() -> None:
    replicas = Replicas()
    for replica in (a_replica("r-1"), a_replica("r-2", model="o"), a_replica("r-3", node_id="n-2")):
        replicas.put(replica)
    assert [r.id for r in replicas.of_model("m")] == ["r-1", "r-3"]
    assert (replicas.models_on("n-1"), replicas.models_on("n-2")) == ({"m", "o"}, {"m"})


def test_a_change_replaces_what_was_known() -> None:
    replicas = Replicas()
    replicas.put(a_replica())
    replicas.put(a_replica(memory_bytes=5))
    assert [r.memory_bytes for r in replicas.of_model("m")] == [5]


def test_what_is_dropped_is_in_no_group() -> None:
    replicas = Replicas()
    replicas.put(a_replica())
    assert replicas.drop("r-1") == a_replica()
    assert replicas.drop("r-1") is None
    assert (list(replicas.of_model("m")), replicas.models_on("n-1")) == ([], set())
    assert replicas == Replicas()
