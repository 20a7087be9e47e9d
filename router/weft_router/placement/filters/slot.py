"""A node runs a bounded number of replicas of one model."""

from collections import Counter
from collections.abc import Sequence

from weft_router.fleet.entities import ReplicaState
from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    # Those on their way out, by wish or because their model file has changed, make room by themselves.
    staying = (r for r in snapshot.replicas(request.model.name) if r.revision == request.model.revision)
    taken = Counter(r.node_id for r in staying if r.state is not ReplicaState.UNLOADING)
    if not taken:
        return views
    return [v for v in views if taken.get(v.node.id, 0) < v.node.max_replicas_per_model]


def _why(view: NodeView, request: Request) -> str:
    return f"runs {view.node.max_replicas_per_model} of it, as many as it may"


SLOT = Filter("with all replica slots taken", _keep, _why)


def free_index(view: NodeView, model: str) -> int:
    """The lowest index that no replica of the model has on the node."""
    taken = {r.replica.index for r in view.replicas if r.replica.model == model}
    return next(i for i in range(len(taken) + 1) if i not in taken)
