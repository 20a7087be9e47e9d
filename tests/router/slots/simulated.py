"""Replicas and principals that always want more, around the real queue, in virtual time."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from weft_router.slots.core.fair_queue import Claim, FairQueue, Wait


@dataclass(frozen=True)
class Customer:
    """A principal with so many requests at once, each of a length in tokens drawn between two."""

    name: str
    tokens: tuple[int, int] = (16, 16)
    lanes: int = 16
    weight: float = 1.0
    priority: int = 0

    @property
    def claim(self) -> Claim:
        return Claim(self.name, self.weight, self.priority)


@dataclass
class Shop:
    """Slots that take a second for 100 tokens; whoever was served asks again at once. State: all of it."""

    slots: int
    customers: list[Customer]
    rng: Random
    queue: FairQueue = field(default_factory=FairQueue)
    done: Counter[str] = field(default_factory=Counter)
    served: list[str] = field(default_factory=list)
    now: float = 0.0
    _number: int = 0
    _here: Counter[str] = field(default_factory=Counter)
    _ends: list[tuple[float, int, str, int]] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        for customer in self.customers:
            for _ in range(customer.lanes):
                self.ask(customer)
        self.customers = []
        self._fill()
        while self._ends and self._ends[0][0] <= until:
            self._end()
        self.now = until

    def ask(self, customer: Customer) -> Wait:
        self._number += 1
        self._customers[customer.name] = customer
        here = self._here[customer.name]
        return self.queue.add(customer.claim, self._number, self.now, (here, 0.0))

    def share(self, name: str) -> float:
        return self.done[name] / self.done.total()

    def _end(self) -> None:
        self.now, _, name, tokens = heapq.heappop(self._ends)
        self.done[name] += tokens
        self._here[name] -= 1
        self.queue.settle(name, tokens, 1, tokens / 100)
        self.queue.note(name, (self._here[name], 0.0))
        if self._customers[name].lanes:
            self.ask(self._customers[name])
        self._fill()

    def _fill(self) -> None:
        while len(self.queue) and self._here.total() < self.slots:
            wait = self.queue.take()
            name = wait.claim.principal
            self.served.append(name)
            self._here[name] += 1
            self.queue.note(name, (self._here[name], 0.0))
            tokens = self.rng.randint(*self._customers[name].tokens)
            heapq.heappush(self._ends, (self.now + tokens / 100, wait.number, name, tokens))

    def __post_init__(self) -> None:
        self._customers = {c.name: c for c in self.customers}
