"""Bring the database to this code's schema: forward only, once, under a lock."""

import re
from importlib import resources
from typing import Any

import grpc

from weft_common.errors import WeftError

# Any number will do, as long as every version of Weft uses the same one.
_LOCK = 0x57454654
_NAME = re.compile(r"(\d{4})_\w+\.sql")


class SchemaTooNew(WeftError):
    """The database was migrated by a newer Weft; this one must not touch it."""

    reason, code, http_status = "INTERNAL", grpc.StatusCode.FAILED_PRECONDITION, 500


def migrations() -> list[tuple[int, str]]:
    """Versions with their SQL, in order."""
    folder = resources.files("weft_router") / "migrations"
    found = ((match, entry) for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name)))
    return sorted((int(match[1]), entry.read_text()) for match, entry in found)


async def migrate(connection: Any) -> int:
    """Apply what is missing and return the version; raises SchemaTooNew where the database is ahead."""
    known = migrations()
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY,"
            " apply_time timestamptz NOT NULL DEFAULT now())"
        )
        current = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_migrations")
        if current > known[-1][0]:
            raise SchemaTooNew(
                f"The database has schema {current} and this Weft knows {known[-1][0]}: run a newer Weft,"
                " or restore the database from before the upgrade."
            )
        for version, sql in known:
            if version > current:
                await connection.execute(sql)
                await connection.execute("INSERT INTO schema_migrations (version) VALUES ($1)", version)
    return known[-1][0]
