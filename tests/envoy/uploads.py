"""Requests by hand, whose bodies are announced and come later or never."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import h2.connection
import h2.events
import orjson

from tests.envoy.stack import DEADLINE_SECONDS, Envoy


def body(size: int, *steps: tuple[object, ...]) -> bytes:
    said = orjson.dumps({"model": "m", "steps": {"*": steps}, "padding": ""})
    return said[:-2] + b"x" * (size - len(said)) + said[-2:]


class Upload:
    """A request by hand: its length is told, and its body comes when it is asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            # What replicas say comes in chunks, and is not what is looked at here.
            return int(head.split()[1]), await self.reader.readexactly(int(length or 0))


@contextlib.asynccontextmanager
async def upload(envoy: Envoy, path: str, size: int | None, **headers: str) -> AsyncIterator[Upload]:
    """Announce a body, in pieces of untold length if its size is None."""
    length = "transfer-encoding: chunked" if size is None else f"content-length: {size}"
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    host, _, port = envoy.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n{more}\r\n".encode()
    )
    try:
        yield Upload(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def announced_over_http2(envoy: Envoy, path: str, *more: tuple[str, str]) -> dict[str, str]:
    """The headers of an answer to what sends none of its body."""
    host, _, port = envoy.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        pseudo = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "x")]
        connection.send_headers(1, [*pseudo, *more])
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                writer.write(connection.data_to_send())
                data = await reader.read(65536)
                assert data
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        return {name.decode(): value.decode() for name, value in event.headers}
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
