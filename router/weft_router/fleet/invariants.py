"""What must hold of every fleet at any time; each check names what it found wrong, and none is the rule."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from weft_router.fleet.entities import NodeState, Replica, ReplicaState
from weft_router.fleet.views import NodeView, Snapshot


def broken(snapshot: Snapshot) -> list[str]:
    """Everything that is wrong with a fleet."""
    found = [problem for view in snapshot.views for problem in broken_on(view)]
    return found + [problem for model in snapshot.of_model for problem in broken_of(model, snapshot)]


def broken_on(view: NodeView) -> list[str]:
    """Everything that is wrong with one node."""
    return [*over_committed(view), *shared_places(view), *uninvited(view)]


def broken_of(model: str, snapshot: Snapshot) -> list[str]:
    """Everything that is wrong with who serves a model."""
    return [p for r in snapshot.serving(model) for p in _unfit(r, snapshot)]


def over_committed(view: NodeView) -> Iterator[str]:
    """No device holds more than it has; a load that has not begun holds nothing yet."""
    held: Counter[str] = Counter()
    for each in view.replicas:
        if each.replica.begun:
            held.update({s.device_id: s.size_bytes for s in each.holding.claims})
    for room in view.rooms:
        if room.total_bytes and held[room.device_id] > room.total_bytes:
            over = held[room.device_id] - room.total_bytes
            yield f"{view.node.name}: {room.device_id} is over-committed by {over} bytes"


def shared_places(view: NodeView) -> Iterator[str]:
    """No two replicas of a node have one model and index."""
    places = Counter((r.replica.model, r.replica.index) for r in view.replicas)
    for (model, index), count in places.items():
        if count > 1:
            yield f"{view.node.name}: {model}#{index} is there {count} times"


def uninvited(view: NodeView) -> Iterator[str]:
    """A node that nobody let in runs nothing."""
    stranger = view.node.state is NodeState.PENDING or not view.node.approved
    if stranger and view.replicas:
        yield f"{view.node.name}: runs {len(view.replicas)} replicas without approval"


def shared_loads(owners: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A load has one owner; `owners` are pairs of a load's id and who believes to own it."""
    by_load: dict[str, set[str]] = {}
    for load, owner in owners:
        by_load.setdefault(load, set()).add(owner)
    for load, believers in by_load.items():
        if len(believers) > 1:
            yield f"load {load} has owners {', '.join(sorted(believers))}"


def duplicate_loads(replicas: Iterable[Replica], asked: Mapping[str, int]) -> Iterator[str]:
    """No model has more loads under way than were asked for."""
    loading = Counter(r.model for r in replicas if r.state is ReplicaState.LOADING)
    for model, count in loading.items():
        if count > asked.get(model, 1):
            yield f"{model} is being loaded {count} times, {asked.get(model, 1)} asked for"


def _unfit(replica: Replica, snapshot: Snapshot) -> Iterator[str]:
    node = snapshot.by_id[replica.node_id].node
    if not node.approved or node.state is not NodeState.HEALTHY:
        yield f"{replica.id} serves on {node.name}, which is {node.state}"
    if replica.revision != snapshot.models[replica.model].revision:
        yield f"{replica.id} serves revision {replica.revision} of {replica.model}"
    selector = snapshot.policy_of(replica.model).node_selector
    if not selector.items() <= node.labels.items():
        yield f"{replica.id} serves on {node.name}, which the selector of {replica.model} does not take"
