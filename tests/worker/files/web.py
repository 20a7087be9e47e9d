"""A web server that serves what a test tells it to, one answer for each connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True)
class Asked:
    """A request: its target as it was sent, and its headers by their names in lower case."""

    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What is sent back; with `sent`, no more than so many bytes of the body before the connection breaks."""

    body: bytes = b""
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None


Handler = Callable[[Asked], Answer]


@contextlib.asynccontextmanager
async def site(handler: Handler) -> AsyncIterator[str]:
    """Serve beside the block; what it is given is the URL of the root."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            answer = handler(_asked(await reader.readuntil(b"\r\n\r\n")))
            headers = {"content-length": str(len(answer.body)), "connection": "close", **answer.headers}
            lines = [f"HTTP/1.1 {answer.status} {answer.status.phrase}", *map(": ".join, headers.items())]
            writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
            writer.write(answer.body[: answer.sent])
            with contextlib.suppress(ConnectionError):  # whoever asked has heard enough
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


def _asked(head: bytes) -> Asked:
    first, *lines = head.decode().split("\r\n")[:-2]
    pairs = (line.partition(": ") for line in lines)
    return Asked(first.split(" ")[1], {name.lower(): value for name, _, value in pairs})
