"""What was asked for when, in PostgreSQL."""

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from weft_router.fleet.demand import OLDEST_DAYS, Asked, Slot

Reading: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]

_NOTE = "INSERT INTO demand (slot, day, model) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
# By the database's date: a leader whose clock is weeks ahead neither has all history deleted nor writes the future.
_FORGET = """
WITH today AS (SELECT floor(extract(epoch FROM clock_timestamp()) / 86400)::integer AS day)
DELETE FROM demand USING today WHERE demand.day < today.day - $1 OR demand.day > today.day + 1
"""
_READ = """
SELECT slot, day, model FROM demand
WHERE (slot, day) IN (SELECT * FROM unnest($1::smallint[], $2::integer[])) ORDER BY slot, day, model
"""


class DemandRows:
    """Every call raises PartUnavailable while the database cannot be reached."""

    def __init__(self, connection: Reading) -> None:
        self._connection = connection

    async def note(self, asked: Collection[Asked]) -> None:
        """Write that models were asked for, and forget what is too old to tell anything, or ahead."""
        async with self._connection() as connection, connection.transaction():
            await connection.executemany(_NOTE, [(a.slot.index, a.slot.day, a.model) for a in asked])
            await connection.execute(_FORGET, OLDEST_DAYS)

    async def read(self, slots: Collection[Slot]) -> tuple[Asked, ...]:
        """What was asked for in these slots."""
        async with self._connection() as connection:
            rows = await connection.fetch(_READ, [s.index for s in slots], [s.day for s in slots])
        return tuple(Asked(row["model"], Slot(row["day"], row["slot"])) for row in rows)
