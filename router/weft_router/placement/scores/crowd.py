"""Nodes without any model come first, then those with the fewest requests, then those with the fewest replicas."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView
from weft_router.placement.request import Request
from weft_router.placement.scores.score import Score


def _ranks(views: Sequence[NodeView], request: Request) -> Sequence[float]:
    return [v.crowd for v in views]


CROWD = Score("crowd", _ranks)
