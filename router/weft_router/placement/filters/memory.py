"""A model that is known not to fit is not tried, unless its engine can spill; unknown memory is tried."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView, Snapshot
from weft_router.placement.filters.filter import Filter
from weft_router.placement.fit import fits
from weft_router.placement.request import Request

_GIB = 1 << 30


def _keep(views: Sequence[NodeView], request: Request, snapshot: Snapshot) -> Sequence[NodeView]:
    need = request.need_bytes
    if not need or request.model.can_spill:
        return views
    return [v for v in views if need <= v.largest_bytes or fits(v, request)]


def _why(view: NodeView, request: Request) -> str:
    return f"has {max(0, view.largest_bytes) / _GIB:.1f} GiB free of the {request.need_bytes / _GIB:.1f} it needs"


MEMORY = Filter("without enough free memory", _keep, _why)
