"""A real PostgreSQL for the router's tests: one server a run, empty for each test."""

import asyncio
import threading
from collections.abc import Iterator

import asyncpg
import pytest

from weft_common.embedded.postgres import Database, database, postgres_part
from weft_common.embedded.postgres_place import forget, locate
from weft_common.home import open_home
from weft_common.ports import load_ports
from weft_common.supervisor import Supervisor

_START_SECONDS = 60.0


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A server with a supervisor in a thread of its own, since each test has its own event loop."""
    home = open_home(tmp_path_factory.mktemp("postgres") / "home")
    port = load_ports(home, single=("postgres",))["postgres"]
    base = database(home, locate(home), port=port, password="secret")
    up, over = threading.Event(), threading.Event()

    async def serve() -> None:
        supervisor = Supervisor([postgres_part(base)], records=home.parts)
        async with supervisor.running():
            await supervisor.ready(_START_SECONDS)
            await _forgo_durability(base)
            up.set()
            while not over.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert up.wait(_START_SECONDS)
    yield base
    over.set()
    thread.join(_START_SECONDS)
    forget(home)


async def _forgo_durability(base: Database) -> None:
    """Nothing here has to outlive the run, and a disk that others use as well makes tests wait for seconds."""
    connection = await asyncpg.connect(base.url)
    await connection.execute("ALTER SYSTEM SET fsync = off")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.execute("CREATE DATABASE tests")
    await connection.close()


@pytest.fixture
async def postgres_url(postgres_server: Database) -> str:
    """The URL of an empty database, always the same one: to make another means to copy 7 MB in 300 files."""
    url = postgres_server.url.replace("/postgres?", "/tests?")
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()
    return url
