"""The agent's end of the lease socket, in a test: collects what a backend reports and sends it commands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from weft_worker.backend.lease import Command, Hello, LeaseState, Load, Report, Stop, decode_report, encode

WAIT_SECONDS = 20.0


class AgentEnd:
    """State: the reports so far, the open connections, and the event of the next report."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.accepts = accepts
        self.reports: list[Report] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._next = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one connection to its end."""
        self._writers.append(writer)
        if self.accepts:
            writer.write(encode(Command(accepted=True)))
        try:
            while line := await reader.readline():
                self.reports.append(decode_report(line))
                self._next.set()
                self._next = asyncio.Event()
        finally:
            writer.close()

    async def hello(self, count: int = 1) -> Hello:
        """Wait for the hello with this number."""
        hellos = await self._when(
            lambda: [r.hello for r in self.reports if r.hello], lambda found: len(found) >= count
        )
        return hellos[count - 1]

    async def state(self, wanted: LeaseState) -> None:
        """Wait until this state was told."""
        await self._when(
            lambda: [r.state.state for r in self.reports if r.state], lambda states: wanted in states
        )

    async def load(self, wanted: Callable[[Load], bool]) -> Load:
        """Wait for a load report that has what is wanted, among those that are still to come or the last one."""
        loads = await self._when(
            lambda: [r.load for r in self.reports if r.load], lambda found: bool(found) and wanted(found[-1])
        )
        return loads[-1]

    def loads_told(self) -> int:
        """Count the load reports."""
        return sum(report.load is not None for report in self.reports)

    def stop(self, grace_seconds: float, linger_seconds: float = 0) -> None:
        """Tell every backend to stop."""
        stop = Stop(grace_seconds=grace_seconds, linger_seconds=linger_seconds)
        for writer in self._writers:
            writer.write(encode(Command(stop=stop)))

    def hang_up(self) -> None:
        """Close every connection, as a dying agent does."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _when(self, look, satisfied):  # type: ignore[no-untyped-def]
        async with asyncio.timeout(WAIT_SECONDS):
            while not satisfied(found := look()):
                await self._next.wait()
        return found


@asynccontextmanager
async def agent_end(path: str | Path, agent: AgentEnd | None = None) -> AsyncIterator[AgentEnd]:
    """Listen on the socket; leaving the block is the agent's death."""
    agent = agent or AgentEnd()
    server = await asyncio.start_unix_server(agent.serve, path)
    try:
        yield agent
    finally:
        server.close()
        agent.hang_up()
