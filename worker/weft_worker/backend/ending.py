"""The wish of this process to end, and the patience with what still runs then."""

import asyncio
import logging
from collections.abc import Awaitable

# With what comes after the grace it stays within the 3 s that a part may take for its end.
_SIGNAL_GRACE_SECONDS = 2.25
_logger = logging.getLogger(__name__)


class Ending:
    """State: whether the end is wished, when patience ends (on the loop's clock), and who waits for that."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._ends_at = float("inf")
        self._patience: asyncio.Timeout | None = None

    def wish(self, cause: str, grace_seconds: float) -> None:
        """End the process, with what runs given this time; a wish whose time ends sooner replaces another."""
        ends_at = asyncio.get_running_loop().time() + grace_seconds
        if ends_at >= self._ends_at:
            return
        _logger.info("backend_ending", extra={"cause": cause, "grace_seconds": grace_seconds})
        self._ends_at = ends_at
        self._event.set()
        if self._patience is not None:
            self._patience.reschedule(ends_at)

    def on_signal(self) -> None:
        """SIGTERM or SIGINT came."""
        self.wish("signal", _SIGNAL_GRACE_SECONDS)

    async def wished(self) -> None:
        """Wait for it, for as long as the process serves."""
        await self._event.wait()

    async def let_finish(self, finished: Awaitable[object]) -> bool:
        """Wait for `finished` until patience ends; False where it did."""
        try:
            async with asyncio.timeout_at(self._ends_at) as self._patience:
                await finished
        except TimeoutError:
            return False
        finally:
            self._patience = None
        return True
