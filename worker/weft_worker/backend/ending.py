"""The wish of this process to end, and the patience with what still runs then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

# With what comes after the grace it stays within the 3 s that a part may take for its end.
_SIGNAL_GRACE_SECONDS = 2.25
_logger = logging.getLogger(__name__)


class Ending:
    """State: whether the end is wished, `gentle` if newcomers are let in for a while and nobody is turned away,
    when that while and all patience end (on the loop's clock), and who waits for either.
    """

    def __init__(self) -> None:
        self.gentle = False
        self._event = asyncio.Event()
        self._ends_at = float("inf")
        self._lingers_until = float("inf")
        self._on_wish: Callable[[], None] | None = None

    def wish(self, cause: str, grace_seconds: float, *, linger_seconds: float = 0.0) -> None:
        """End the process, with what runs given this time; a wish whose time ends sooner replaces another."""
        now = asyncio.get_running_loop().time()
        if now + grace_seconds >= self._ends_at:
            return
        fields = {"cause": cause, "grace_seconds": grace_seconds, "linger_seconds": linger_seconds}
        _logger.info("backend_ending", extra=fields)
        self.gentle = linger_seconds > 0
        self._ends_at = now + grace_seconds
        self._lingers_until = min(self._lingers_until, now + min(linger_seconds, grace_seconds))
        self._event.set()
        if self._on_wish is not None:
            self._on_wish()

    def on_signal(self) -> None:
        """SIGTERM or SIGINT came."""
        self.wish("signal", _SIGNAL_GRACE_SECONDS)

    async def wished(self) -> None:
        """Wait for it, for as long as the process serves."""
        await self._event.wait()

    async def linger(self, quiet: Awaitable[object]) -> bool:
        """Wait for `quiet` while newcomers are let in; False where that took too long."""
        return await self._within(quiet, lambda: self._lingers_until)

    async def let_finish(self, finished: Awaitable[object]) -> bool:
        """Wait for `finished` until patience ends; False where it did."""
        return await self._within(finished, lambda: self._ends_at)

    async def _within(self, awaited: Awaitable[object], limit: Callable[[], float]) -> bool:
        """Wait until the limit, which a later wish may bring nearer."""

        def shorten() -> None:
            if not patience.expired():
                patience.reschedule(limit())

        try:
            async with asyncio.timeout_at(limit()) as patience:
                self._on_wish = shorten
                await awaited
        except TimeoutError:
            return False
        finally:
            self._on_wish = None
        return True
