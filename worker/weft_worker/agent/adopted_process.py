"""A backend process that an earlier agent started: not our child, and watched all the same."""

import asyncio
import contextlib
import os
import signal

from weft_common.process import alive

_POLL_SECONDS = 0.1


class AdoptedProcess:
    """Names one process by pid and start time, so that a recycled pid is never waited for or killed."""

    def __init__(self, pid: int, start_time: int) -> None:
        self.pid = pid
        self.start_time = start_time

    async def wait(self) -> int | None:
        """Wait for its end; only its parent, which is not us, learns the exit code."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        except (AttributeError, OSError):  # not Linux, or a sandbox that forbids it
            await self._poll()
            return None
        try:
            # The descriptor names whatever has the pid now; from here on that cannot change.
            if alive(self.pid, self.start_time):
                await _readable(descriptor)
        finally:
            os.close(descriptor)
        return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        if alive(self.pid, self.start_time):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and all of its group, of which it is the leader."""
        if alive(self.pid, self.start_time):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def _poll(self) -> None:
        while alive(self.pid, self.start_time):  # noqa: ASYNC110 (no event tells the end of a stranger's child)
            await asyncio.sleep(_POLL_SECONDS)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
