"""Reads bodies: small ones at once, large ones beside the loop, so that streams of others go on meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# To read so much takes a few milliseconds.
_LARGE_BYTES = 128 << 10
# Not the loop's own threads: a few bodies of millions of pieces would keep all others from them.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="bodies")
T = TypeVar("T")


async def read_body(read: Callable[[bytes], T], body: bytes) -> T:
    """Give what `read` makes of a body; raises what it raises."""
    if len(body) < _LARGE_BYTES:
        return read(body)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, read, body)
