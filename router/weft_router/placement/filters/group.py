"""Models of one concurrency group rather not share a node; soft, since sharing beats not serving."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    groups = request.model.concurrency_groups
    return [v for v in views if v.groups.isdisjoint(groups)] if groups else views


def _why(view: NodeView, request: Request) -> str:
    shared = sorted(view.groups.intersection(request.model.concurrency_groups))
    return f"runs another model of group {', '.join(shared)}"


GROUP = Filter("with a model of the same group", _keep, _why, soft=True)
