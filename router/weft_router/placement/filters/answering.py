"""A worker that has not been heard from, or left this very load unanswered before, gets no model now."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    return [v for v in views if v.node.id not in request.avoid] if request.avoid else views


def _why(view: NodeView, request: Request) -> str:
    return "its worker does not answer"


ANSWERING = Filter("without an answer of their worker", _keep, _why)
