"""What a score is: a rank for each candidate, of which the lowest is best. Later scores only part equals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weft_router.fleet.views import NodeView
from weft_router.placement.request import Request


@dataclass(frozen=True, slots=True)
class Score:
    """`ranks` answers for all candidates at once, in their order."""

    name: str
    ranks: Callable[[Sequence[NodeView], Request], Sequence[float]]
