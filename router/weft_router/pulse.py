"""Wakes whoever waits for the fleet to change; a woken waiter looks for itself whether anything is new for it.

Beats come with every report of every worker, looks cost a decision each: so a waiter sleeps a moment once it is woken,
and what beats meanwhile costs it nothing.
"""

import asyncio
import contextlib

_MOMENT_SECONDS = 0.02


class Pulse:
    """State: `_next`, set and replaced at every beat."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def beat(self) -> None:
        """Wake all who wait."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> None:
        """Wait for the next beat, or for so long."""
        coming = self._next
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout_seconds)):
                await coming.wait()
                await asyncio.sleep(_MOMENT_SECONDS)
