"""Lets tasks wait until something has changed since they last looked."""

import asyncio


class Changes:
    """Counts changes; state: `version` and the event of the next one."""

    def __init__(self) -> None:
        self.version = 0
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self.version += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, version: int) -> int:
        """Wait for a version other than `version` and give it; the caller sets the deadline."""
        while self.version == version:
            await self._next.wait()
        return self.version
