"""Only healthy nodes receive models: not pending, silent, draining or offline ones."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    return [v for v in views if v.healthy]


def _why(view: NodeView, request: Request) -> str:
    return f"is {view.node.state}"


HEALTHY = Filter("not healthy", _keep, _why)
