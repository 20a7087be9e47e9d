"""The node with the most free memory comes first."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView
from weft_router.placement.request import Request
from weft_router.placement.scores.score import Score


def _ranks(views: Sequence[NodeView], request: Request) -> Sequence[float]:
    return [-v.spare_bytes for v in views]


FREE = Score("free bytes", _ranks)
