"""Nodes without any model come first."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView
from weft_router.placement.request import Request
from weft_router.placement.scores.score import Score


def _ranks(views: Sequence[NodeView], request: Request) -> Sequence[float]:
    return [1 if v.replicas else 0 for v in views]


IDLE = Score("has models", _ranks)
