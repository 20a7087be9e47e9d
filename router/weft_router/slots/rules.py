"""How much waiting there may be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueRules:
    """How many may wait, for one model and for all, and for how many seconds at most.

    A node that was not heard from for `silent_seconds` is given nothing while others were.
    """

    model_limit: int
    total_limit: int
    wait_seconds: float
    silent_seconds: float
