"""Forgets for ever what is gone for so long that every router has read of it; only in the router that leads."""

import asyncio
import contextlib
from datetime import timedelta

from weft_common.errors import PartUnavailable
from weft_router.leases import Lease
from weft_router.store.protocol import StaleLeader, Store

_PURGE_SECONDS = 600.0
_GONE_FOR = timedelta(hours=1)


async def purge(store: Store, lease: Lease) -> None:
    """Do so every ten minutes, for ever."""
    while True:
        await asyncio.sleep(_PURGE_SECONDS)
        fence = lease.fence
        if fence is not None:
            with contextlib.suppress(PartUnavailable, StaleLeader):
                await store.purge(_GONE_FOR, fence=fence)
