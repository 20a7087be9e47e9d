"""The node with the fewest requests comes first; of those, the one with the fewest replicas."""

from collections.abc import Sequence

from weft_router.fleet.views import NodeView
from weft_router.placement.request import Request
from weft_router.placement.scores.score import Score


def _requests(views: Sequence[NodeView], request: Request) -> Sequence[float]:
    return [v.in_flight_count for v in views]


def _replicas(views: Sequence[NodeView], request: Request) -> Sequence[float]:
    return [len(v.replicas) for v in views]


REQUESTS = Score("requests", _requests)
REPLICAS = Score("replicas", _replicas)
