"""Leases in PostgreSQL, by its clock alone: routers' clocks may differ by anything."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, TypeAlias

from weft_router.fleet.lease import Fence, LeaseRow

Reading: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]

# clock_timestamp(), not now(): a statement that had to wait for a lock must not take a lease for the past. The same
# rules as `next_epoch`.
_HOLD = """
INSERT INTO leases (name, holder, expire_time) VALUES ($1, $2, clock_timestamp() + $3::interval)
ON CONFLICT (name) DO UPDATE SET holder = $2, expire_time = clock_timestamp() + $3::interval,
    epoch = leases.epoch + CASE WHEN leases.expire_time > clock_timestamp() THEN 0 ELSE 1 END
WHERE leases.holder = $2 OR leases.expire_time <= clock_timestamp()
"""
_COUNT_RENEWAL = """
UPDATE leases SET refused_count = refused_count + 1 WHERE name = $1 AND epoch > $2 AND holder <> $3
"""
_ALL = """
SELECT name, holder, epoch, refused_count,
    greatest(extract(epoch FROM expire_time - clock_timestamp()), 0)::float8 AS remaining FROM leases
"""


class LeaseRows:
    """Every call raises PartUnavailable while the database cannot be reached."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def hold(self, name: str, holder: str, *, ttl: timedelta, fence: Fence | None = None) -> LeaseRow:
        """Lead in `name` for `ttl` from now unless another router does; returns the lease as it is then.

        With `fence` it renews that term, which is refused and counted like any effect once another one began.
        """
        async with self._reading() as connection:
            await connection.execute(_HOLD, name, holder, ttl)
            if fence is not None:
                await connection.execute(_COUNT_RENEWAL, name, fence.epoch, holder)
            return _lease(await connection.fetchrow(f"{_ALL} WHERE name = $1", name))

    async def give_back(self, fence: Fence) -> None:
        """Lead no longer, if that term still runs: another router may begin at once."""
        async with self._reading() as connection:
            await connection.execute(
                "UPDATE leases SET expire_time = clock_timestamp() WHERE name = $1 AND epoch = $2"
                " AND expire_time > clock_timestamp()",
                fence.lease,
                fence.epoch,
            )

    async def read(self) -> list[LeaseRow]:
        """All leases, by name."""
        async with self._reading() as connection:
            return [_lease(row) for row in await connection.fetch(f"{_ALL} ORDER BY name")]


async def refused(connection: Any, fence: Fence) -> bool:
    """Whether an effect of that term comes too late; then the refusal is counted, and nothing else may be written.

    A term that ran out is over, whether or not another one began. Until the transaction ends none can begin, so nothing
    of an older term lands after a newer one began.
    """
    runs = await connection.fetchval(
        "SELECT epoch = $2 AND expire_time > clock_timestamp() FROM leases WHERE name = $1 FOR SHARE",
        fence.lease,
        fence.epoch,
    )
    if runs:
        return False
    await connection.execute(
        "UPDATE leases SET refused_count = refused_count + 1 WHERE name = $1", fence.lease
    )
    return True


def _lease(row: Any) -> LeaseRow:
    return LeaseRow(
        name=row["name"],
        holder=row["holder"],
        epoch=row["epoch"],
        remaining_seconds=row["remaining"],
        refused_count=row["refused_count"],
    )
