"""One model as this router hands out its slots: where it could be served, who waits, who works."""

import asyncio
from dataclasses import dataclass, field

from weft_router.fleet.entities import Node, Replica
from weft_router.slots.core.fair_queue import FairQueue, Wait
from weft_router.slots.core.tally import Tally
from weft_router.slots.replicas import Grant, Granting


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a model could be served when it was last looked at as a whole; `until` by the clock."""

    sequence: int
    until: float
    places: dict[str, tuple[Replica, Node]]
    replicas: tuple[Replica, ...]
    slot_count: int


@dataclass(slots=True)
class ModelSlots:
    """One model: who waits, who works, what is handed out. State: all of it; `answers` are those to whom waits.

    While anybody waits, nothing is free: what becomes free is handed out at once. So a report needs a look only at
    the replicas that it is about, and a newcomer at none; all of them are looked at once a second.
    """

    granting: Granting
    queue: FairQueue = field(default_factory=FairQueue)
    tally: Tally = field(default_factory=Tally)
    answers: dict[Wait, asyncio.Future[Grant | None]] = field(default_factory=dict)
    standing: Standing | None = None

    def under_way(self, principal: str) -> tuple[int, float]:
        """What a principal has at replicas or on its way there."""
        count, running = self.tally.in_flight(principal)
        return count + self.granting.uncovered_count(principal), running

    def note(self, principal: str) -> None:
        """Tell the queue of it."""
        self.queue.note(principal, self.under_way(principal))
