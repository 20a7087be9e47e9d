"""A node may run a bounded number of replicas, whatever their models; who leaves holds a place until it is gone."""

from collections.abc import Sequence

from weft_router.fleet.entities import ReplicaState
from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    return [v for v in views if not v.node.max_replicas or len(v.replicas) < v.node.max_replicas]


def _why(view: NodeView, request: Request) -> str:
    return f"runs {len(view.replicas)} replicas of at most {view.node.max_replicas}"


PLACES = Filter("with as many replicas as they may run", _keep, _why)


def too_many(view: NodeView) -> int:
    """How many replicas must be asked to leave a node so that one more may come, once all who leave are gone."""
    if not view.node.max_replicas:
        return 0
    staying = sum(r.replica.state is not ReplicaState.UNLOADING for r in view.replicas)
    return max(0, staying + 1 - view.node.max_replicas)
