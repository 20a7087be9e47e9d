"""Clients of a simulated world: whom they ask for changes all the time, and some models are asked for more."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from tests.sim.process import Ask, Outcome

if TYPE_CHECKING:
    from tests.sim.world import World

_PROMPTS = 64
_MOOD_SECONDS = 30.0
# The most popular model is not asked for by everybody, and pools are small.
_STEEPNESS = 0.6
_POOL_WEIGHT = 0.3


@dataclass(slots=True, eq=False)
class Crowd:
    """State: `under_way`, requests that have not ended, and what is popular just now."""

    world: World
    under_way: dict[int, Ask] = field(default_factory=dict)
    sent_count: int = 0
    _models: list[str] = field(default_factory=list)
    _weights: list[float] = field(default_factory=list)
    _mood_until: float = 0.0
    _chains: dict[int, tuple[bytes, ...]] = field(default_factory=dict)

    def start(self) -> None:
        """Begin to ask."""
        self._models = list(self.world.store.models)
        self._send()

    def left(self, ask: Ask) -> None:
        """A request has ended."""
        del self.under_way[ask.number]

    def _send(self) -> None:
        world, shape, rng = self.world, self.world.shape, self.world.rng
        now = world.agenda.now
        if now >= self._mood_until:
            self._mood_until = now + _MOOD_SECONDS
            rng.shuffle(self._models)
            self._weights = list(accumulate(self._weight(i, m) for i, m in enumerate(self._models)))
        model = rng.choices(self._models, cum_weights=self._weights)[0]
        self.ask(model, min(rng.expovariate(1 / shape.service_seconds), 10 * shape.service_seconds))
        if self.sent_count < shape.request_count:
            world.agenda.after(rng.expovariate(shape.requests_per_second), self._send)

    def ask(self, model: str, service_seconds: float) -> Ask:
        """Send a request through some gateway."""
        world, now, wait = self.world, self.world.agenda.now, self.world.shape.load_wait_seconds
        gateway = world.rng.choice(list(world.gateways.values()))
        self.sent_count += 1
        ask = Ask(self.sent_count, model, gateway.name, now, now + wait, service_seconds)
        if gateway.wants_prefixes(model):
            ask.chain = self._prompt(world.rng.randrange(_PROMPTS))
        self.under_way[ask.number] = ask
        world.agenda.after(wait, self._time_out, ask)
        gateway.arrive(ask)
        return ask

    def _weight(self, rank: int, model: str) -> float:
        pooled = self.world.store.policies[model].node_selector
        return (_POOL_WEIGHT if pooled else 1.0) / (rank + 1) ** _STEEPNESS

    def _prompt(self, number: int) -> tuple[bytes, ...]:
        if number not in self._chains:
            length = 1 + number % 4
            self._chains[number] = tuple(f"{number % 16}/{i}".encode() for i in range(length))
        return self._chains[number]

    def _time_out(self, ask: Ask) -> None:
        """A client's patience with a wait ends; what is worked on by then goes on."""
        if ask.outcome is not None or (ask.at is not None and ask in ask.at.active):
            return
        if ask.at is not None and ask in ask.at.queue:
            ask.at.queue.remove(ask)
        self.world.end(ask, Outcome.TIMED_OUT)
