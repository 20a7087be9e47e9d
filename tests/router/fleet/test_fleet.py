"""The fleet in memory: what counts as ready."""

import pytest

from tests.router.builders import a_model, a_node, a_replica
from weft_router.fleet.entities import Changes, NodeState, ReplicaState
from weft_router.fleet.fleet import Fleet


def fleet(**fields: object) -> Fleet:
    made = Fleet()
    changes = {"nodes": (a_node(),), "replicas": (a_replica(),), "models": (a_model(),), "sequence": 3}
    made.apply(Changes(**(changes | fields)))  # type: ignore[arg-type]
    return made


def test_a_ready_replica_of_the_current_revision_on_a_healthy_node_is_ready() -> None:
    assert fleet().ready_replicas("m") == [a_replica()]


@pytest.mark.parametrize(
    "fields",
    [
        {"replicas": (a_replica(state=ReplicaState.LOADING),)},
        {"replicas": (a_replica(revision="old"),)},
        {"nodes": (a_node(state=NodeState.DRAINING),)},
        {"nodes": ()},
        {"models": ()},
    ],
)
def test_anything_less_is_not(fields: dict[str, object]) -> None:
    assert fleet(**fields).ready_replicas("m") == []


def test_what_is_gone_is_forgotten_and_the_sequence_never_falls() -> None:
    made = fleet()
    made.apply(Changes(sequence=2, gone_replicas=("r-1",), gone_models=("m",), gone_nodes=("n-one",)))
    assert (made.nodes, made.replicas, made.models, made.sequence) == ({}, {}, {}, 3)


def test_everything_applied_to_an_empty_fleet_gives_the_same_fleet() -> None:
    copy = Fleet()
    copy.apply(fleet().everything())
    assert copy == fleet()
