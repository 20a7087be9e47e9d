"""An admin may name the node, and a caller may name nodes that failed this very load before."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    if request.node_id is not None:
        views = [v for v in views if v.node.id == request.node_id]
    return [v for v in views if v.node.id not in request.avoid] if request.avoid else views


def _why(view: NodeView, request: Request) -> str:
    return "failed this load before" if view.node.id in request.avoid else "another node was asked for"


WANTED = Filter("not asked for", _keep, _why)
