"""Whatever happens to a fleet, looking at it in between changes nothing, and its parts agree with each other."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.router.builders import GIB, a_device, a_held_replica, a_model, a_node
from weft_router.fleet.entities import Changes, NodeState, Replica, ReplicaState, Share
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy
from weft_router.fleet.views import Snapshot

_NODES, _MODELS = ("a", "b"), ("m", "n")
_REPLICAS = {
    f"r-{node}-{model}": a_held_replica(f"r-{node}-{model}", model, 4, node_id=f"n-{node}")
    for node in _NODES
    for model in _MODELS
}

_changes = st.one_of(
    st.builds(
        lambda name, state, generation: Changes(nodes=(a_node(name, state=state, generation=generation),)),
        st.sampled_from(_NODES),
        st.sampled_from(NodeState),
        st.integers(1, 2),
    ),
    st.builds(
        lambda replica_id, state, revision: Changes(
            replicas=(replace(_REPLICAS[replica_id], state=state, revision=revision),)
        ),
        st.sampled_from(sorted(_REPLICAS)),
        st.sampled_from(ReplicaState),
        st.sampled_from(("rev1", "rev2")),
    ),
    st.builds(
        lambda name, revision: Changes(models=(a_model(name, revision=revision),)),
        st.sampled_from(_MODELS),
        st.sampled_from(("rev1", "rev2")),
    ),
    st.builds(
        lambda name, label: Changes(policies=(Policy(name, {"node.name": label}),)),
        st.sampled_from(_MODELS),
        st.sampled_from(_NODES),
    ),
    st.builds(lambda name: Changes(gone_nodes=(f"n-{name}",)), st.sampled_from(_NODES)),
    st.builds(lambda i: Changes(gone_replicas=(i,)), st.sampled_from(sorted(_REPLICAS))),
    st.builds(lambda name: Changes(gone_models=(name,)), st.sampled_from(_MODELS)),
    st.builds(lambda name: Changes(gone_policies=(name,)), st.sampled_from(_MODELS)),
)
_words = st.one_of(
    st.tuples(st.just("report"), st.sampled_from(sorted(_REPLICAS)), st.integers(0, 2)),
    st.tuples(st.just("measure"), st.sampled_from(sorted(_REPLICAS)), st.integers(0, 8)),
    st.tuples(st.just("freed"), st.sampled_from(sorted(_REPLICAS)), st.just(0)),
    st.tuples(st.just("aside"), st.sampled_from(sorted(_REPLICAS)), st.integers(0, 4)),
)
_Step = Changes | tuple[str, str, int]
_histories = st.lists(st.one_of(_changes, _words), max_size=30)


def live(history: list[_Step], *, looking: bool) -> Fleet:
    """A fleet after all of it; a tenth of a minute passes between steps."""
    fleet = Fleet()
    for number, step in enumerate(history):
        _happen(fleet, step, number)
        if looking:
            fleet.snapshot()
    return fleet


def _happen(fleet: Fleet, step: _Step, number: int) -> None:
    now = number * 6.0
    if isinstance(step, Changes):
        fleet.apply(replace(step, sequence=number + 1), now)
        return
    what, replica_id, size = step
    replica = _REPLICAS[replica_id]
    match what:
        case "report":
            fleet.report(replica.node_id, {replica_id: size}, now)
        case "measure":
            told = (replace(replica, memory_bytes=size * GIB),) if size else ()
            fleet.measure(replica.node_id, (a_device(16 - size),), told)
        case "freed":
            fleet.freed(replica_id)
        case _:
            if replica_id in fleet.replicas:
                fleet.set_aside(replica_id, (Share("cpu", size * GIB),))


def seen(snapshot: Snapshot) -> Snapshot:
    """Without the order in which nodes came to be, which decides nothing."""
    return replace(snapshot, views=tuple(sorted(snapshot.views, key=lambda v: v.node.id)))


@given(_histories)
def test_looking_at_a_fleet_changes_nothing(history: list[_Step]) -> None:
    often, once = live(history, looking=True), live(history, looking=False)
    assert seen(often.snapshot()) == seen(once.snapshot())


@given(_histories)
def test_the_parts_of_a_snapshot_agree(history: list[_Step]) -> None:
    fleet = live(history, looking=True)
    snapshot = fleet.snapshot()
    assert {v.node.id for v in snapshot.views} == set(snapshot.by_id) == set(fleet.nodes)
    rows = {i: r for i, r in fleet.replicas.items() if r.state is not ReplicaState.FAILED}
    assert _by_id(r for there in snapshot.of_model.values() for r in there) == rows
    assert _by_id(v.replica for view in snapshot.views for v in view.replicas) == {
        i: r for i, r in rows.items() if r.node_id in fleet.nodes
    }


@given(_histories)
def test_no_device_ever_has_more_to_spare_than_its_replicas_leave(history: list[_Step]) -> None:
    for view in live(history, looking=True).snapshot().views:
        claimed = sum(s.size_bytes for v in view.replicas for s in v.holding.claims)
        assert all(room.spare_bytes <= room.total_bytes - claimed for room in view.rooms)


def _by_id(replicas: object) -> dict[str, Replica]:
    return {r.id: r for r in replicas}  # type: ignore[attr-defined]
