"""Whose fault it is that a health check had no answer: told by one plain connection to the same address."""

import asyncio
import errno

from weft_router.fleet.checkups import Finding

# What keeps this process or this machine from connecting to anybody.
_OWN_TROUBLE = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.ENETDOWN,
        errno.EACCES,
        errno.EPERM,
    }
)


async def reach(address: str, seconds: float) -> Finding:
    """Connect and wait for the first byte: a gRPC server speaks first.

    DEAD only where that is refused or reset; BUSY where something listens, UNREACHED where nothing comes back or the
    network has no way, and UNABLE where this router cannot connect at all.
    """
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:
        return failed(error)
    try:
        async with asyncio.timeout(seconds):
            # Closed without a word: a proxy whose other end is gone, perhaps.
            return Finding.BUSY if await reader.read(1) else Finding.UNREACHED
    except TimeoutError:
        return Finding.BUSY
    except OSError as error:
        return failed(error)
    finally:
        writer.close()


def failed(error: OSError) -> Finding:
    """What it means that a connection failed so."""
    if isinstance(error, ConnectionRefusedError | ConnectionResetError):
        return Finding.DEAD
    return Finding.UNABLE if error.errno in _OWN_TROUBLE else Finding.UNREACHED
