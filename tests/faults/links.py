"""A TCP way between two parts that can be cut: refused, swallowed, slow, or held for one of those who use it.

Give a part the link's address in place of the real one. State: `_mode`, `_held` (what ends the wait of a process's
bytes, by pid) with `_waiting` (the same by port of each of its connections), and whether somebody listens; all of it
belongs to the link's own thread.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from enum import Enum, auto
from typing import Any, Self

import psutil

_CHUNK_BYTES = 65_536
_CALL_SECONDS = 10.0


class _Mode(Enum):
    OPEN = auto()
    SWALLOW = auto()
    SLOW = auto()


class Link:
    """Forwards 127.0.0.1:`port` to a target, until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._mode = _Mode.OPEN
        self._delay_seconds = 0.0
        self._held: dict[int, asyncio.Event] = {}
        self._waiting: dict[int, asyncio.Event] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link to {port}", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *reason: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    @contextlib.contextmanager
    def refused(self) -> Iterator[None]:
        """Close the port and every connection."""
        self._call(self._end())
        try:
            yield
        finally:
            self._call(self._listen())

    @contextlib.contextmanager
    def swallowed(self) -> Iterator[None]:
        """Take connections and bytes, and pass nothing on; connections from inside the block end with it."""
        self._mode = _Mode.SWALLOW
        try:
            yield
        finally:
            # Bytes are missing in the middle now: no protocol could go on.
            self._call(self._cut())
            self._mode = _Mode.OPEN

    @contextlib.contextmanager
    def held(self, pid: int) -> Iterator[None]:
        """Cut one process off, both ways; what was sent meanwhile arrives once the block is left, as TCP has it."""
        self._call(self._hold(pid))
        try:
            yield
        finally:
            self._call(self._release(pid))

    @contextlib.contextmanager
    def slowed(self, seconds: float) -> Iterator[None]:
        """Hold every piece back for a while."""
        self._delay_seconds, self._mode = seconds, _Mode.SLOW
        try:
            yield
        finally:
            self._mode = _Mode.OPEN

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _hold(self, pid: int) -> None:
        over = self._held[pid] = asyncio.Event()
        self._waiting |= dict.fromkeys(_ports(pid), over)

    async def _release(self, pid: int) -> None:
        over = self._held.pop(pid)
        over.set()
        self._waiting = {port: event for port, event in self._waiting.items() if event is not over}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            onward_reader, onward = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(onward)
        port = int(writer.get_extra_info("peername")[1])
        for pid in self._held:
            if port in _ports(pid):
                self._waiting[port] = self._held[pid]
        try:
            await asyncio.gather(self._pump(reader, onward, port), self._pump(onward_reader, writer, port))
        except OSError:
            pass
        finally:
            for end in (writer, onward):
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        while piece := await reader.read(_CHUNK_BYTES):
            if port in self._waiting:
                await self._waiting[port].wait()
            if self._mode is _Mode.SWALLOW:
                continue
            if self._mode is _Mode.SLOW:
                await asyncio.sleep(self._delay_seconds)
            writer.write(piece)
            await writer.drain()
        writer.close()


def _ports(pid: int) -> set[int]:
    """From which ports of this machine a process has connections; none once it is gone."""
    try:
        return {c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.laddr}
    except psutil.NoSuchProcess:
        return set()
