"""One connection to NATS: what the library leaves to be done by hand."""

import asyncio

from nats import errors as nats_errors
from nats.aio.client import Client

_PING_EVERY_SECONDS = 2.0
_PONG_SECONDS = 2
_CLOSE_SECONDS = 0.5


async def settle(client: Client) -> None:
    """Return when the server knows what was subscribed so far.

    The library writes a PING ahead of commands that its flusher still holds; by the first PONG they are out.
    """
    await _ping(client)
    await _ping(client)


async def until_lost(client: Client, lost: asyncio.Event) -> None:
    """Return when the connection closed, raise when it stalled: a stopped server keeps its sockets open."""
    while not client.is_closed:
        try:
            async with asyncio.timeout(_PING_EVERY_SECONDS):
                await lost.wait()
        except TimeoutError:
            await _ping(client)


async def _ping(client: Client) -> None:
    await client.flush(_PONG_SECONDS)
    honour_cancellation()


def honour_cancellation() -> None:
    """Raise the CancelledError that the library swallowed, if it did.

    It waits with asyncio.wait_for, which up to Python 3.11 returns normally when what it waits for is done at the
    very moment of the cancellation; a task that misses its cancellation keeps its parent waiting for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def abandon(client: Client) -> None:
    """Close a connection without waiting for long, whatever state it is in."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()
    except (OSError, nats_errors.Error, TimeoutError):
        # Its buffers do not drain. Private, but nothing else cuts a connection without waiting for its peer.
        writer = getattr(client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
