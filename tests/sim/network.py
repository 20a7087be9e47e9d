"""Messages that mostly arrive: some are lost, some come late, and late ones overtake nobody on purpose."""

from dataclasses import dataclass
from random import Random
from typing import Any

from tests.sim.agenda import Action, Agenda

# Beyond this no message is still under way; what gives up on an answer waits at least as long.
LATEST_SECONDS = 5.0
_USUAL_SECONDS = 0.002


@dataclass(slots=True)
class Network:
    """Delivers actions; `loss_share` of them never, as many late; state: `loss_share`, which falls to 0 at the end."""

    agenda: Agenda
    rng: Random
    loss_share: float

    def send(self, action: Action, *arguments: Any) -> None:
        """Have something happen elsewhere soon, late, or not at all."""
        luck = self.rng.random()
        if luck < self.loss_share:
            return
        late = luck < 2 * self.loss_share
        self.agenda.after(
            self.rng.uniform(0.05, LATEST_SECONDS) if late else _USUAL_SECONDS, action, *arguments
        )

    def is_lost(self) -> bool:
        """Whether one listener misses a message that everybody gets."""
        return self.rng.random() < self.loss_share
