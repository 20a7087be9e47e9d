"""A node's worker must be able to start the model's engine."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    backend = request.model.backend
    return [v for v in views if backend in v.engines]


def _why(view: NodeView, request: Request) -> str:
    return f"cannot run engine {request.model.backend}"


ENGINE = Filter("without engine {engine}", _keep, _why)
