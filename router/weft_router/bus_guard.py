"""Leaves what can only be led with NATS to routers that have it: a leader without it decides and nobody hears."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from weft_common.clock import Clock

_LOOK_SECONDS = 0.5
# Others ask for a lease every second: whoever has NATS is ahead of this router then, and where nobody has, it goes on.
_ABSTAIN_SECONDS = 2.5
# Until it is tried again whether somebody else has NATS.
_AGAIN_SECONDS = 30.0
_WHY = "this router cannot reach NATS, and another one may"


class Connection(Protocol):
    """What this needs of the bus."""

    @property
    def connected(self) -> bool:
        """Whether NATS answers."""
        ...


class Leads(Protocol):
    """What this needs of a lease."""

    @property
    def fence(self) -> object | None:
        """None while this router does not lead."""
        ...

    async def step_down(self, why: str, *, seconds: float) -> None:
        """Leave the lease to another router for so long."""
        ...


class BusGuard:
    """State: `_due`, when each lease is left to others if this router leads then without NATS."""

    def __init__(self, bus: Connection, leases: Sequence[Leads], clock: Clock, patience: timedelta) -> None:
        self._bus = bus
        self._leases = leases
        self._clock = clock
        self._patience = patience.total_seconds()
        self._due = [self._later(self._patience)] * len(leases)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Step down where NATS has been missing for too long."""
        if self._bus.connected:
            self._due = [self._later(self._patience)] * len(self._leases)
            return
        for index, lease in enumerate(self._leases):
            if lease.fence is not None and self._clock.monotonic() >= self._due[index]:
                self._due[index] = self._later(_AGAIN_SECONDS)
                await lease.step_down(_WHY, seconds=_ABSTAIN_SECONDS)

    def _later(self, seconds: float) -> float:
        return self._clock.monotonic() + seconds
