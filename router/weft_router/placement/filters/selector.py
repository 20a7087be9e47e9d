"""A model's node selector: every label that it names must have its value on the node."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.request import Request


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    selector = request.policy.node_selector
    if not selector:
        return views
    wanted = selector.items()
    return [v for v in views if wanted <= v.node.labels.items()]


def _why(view: NodeView, request: Request) -> str:
    labels = view.node.labels
    wrong = [f"{k}={v}" for k, v in request.policy.node_selector.items() if labels.get(k) != v]
    return f"has no label {', '.join(wrong)}"


SELECTOR = Filter("not labelled {labels}", _keep, _why)
