"""An admin may name the node."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    return views if request.node_id is None else [v for v in views if v.node.id == request.node_id]


def _why(view: NodeView, request: Request) -> str:
    return "another node was asked for"


WANTED = Filter("not asked for", _keep, _why)
