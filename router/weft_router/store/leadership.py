"""Who leads among routers: whoever holds an advisory lock of PostgreSQL, on a connection of its own.

The lock goes with its connection, so a router that dies or loses the database leads no longer. One that hangs still
holds it: leases with an epoch come with the routers' fail-over.
"""

import asyncpg

_LOCK_SPACE = 0x57454C44  # beside the fleet lock, which is a single number


class Leadership:
    """State: the connection that holds the locks, and `_held`, their names."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._connection: asyncpg.Connection | None = None
        self._held: set[str] = set()

    async def try_lead(self, name: str) -> bool:
        """Whether this router leads in `name`; raises what asyncpg raises while nobody can tell."""
        connection = await self._connected()
        try:
            if name in self._held:
                await connection.execute("SELECT 1")  # whether the connection still lives
            elif await connection.fetchval(
                "SELECT pg_try_advisory_lock($1, hashtext($2))", _LOCK_SPACE, name
            ):
                self._held.add(name)
        except BaseException:
            # What was asked may have been granted, and an unread answer would be taken for the next one's.
            self.close()
            raise
        return name in self._held

    def close(self) -> None:
        """Lead in nothing any longer."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
        self._held.clear()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is not None and self._connection.is_closed():
            self.close()
        if self._connection is None:
            self._connection = await asyncpg.connect(
                self._url, timeout=self._timeout_seconds, command_timeout=self._timeout_seconds
            )
        return self._connection
