"""The embedded database: private, restarted with its data, never two servers on one folder."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.common.embedded.databases import database_of
from weft_common.embedded.postgres import Database, postgres_part, prepare, stop_leftover
from weft_common.embedded.postgres_place import forget
from weft_common.home import Home, StartError, open_home
from weft_common.process import alive, spawn
from weft_common.supervisor import PartFailed, Supervisor

DEADLINE = 30.0


@contextlib.asynccontextmanager
async def serving(base: Database, home: Home) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor([postgres_part(base)], records=home.parts)
    async with supervisor.running():
        await supervisor.ready(DEADLINE)
        yield supervisor


async def ask(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=DEADLINE)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def server_of(base: Database) -> psutil.Process:
    return psutil.Process(int((base.place.data / "postmaster.pid").read_text().splitlines()[0]))


async def test_database_answers_those_who_know_the_password(home_with_database: Home) -> None:
    base = database_of(home_with_database)
    async with serving(base, home_with_database):
        assert await ask(base.url, "select count(*) from pg_available_extensions where name = 'vector'") == 1
        assert await ask(base.url, "show password_encryption") == "scram-sha-256"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(replace(base, password="wrong").url, "select 1")


async def test_database_listens_on_this_machine_only_and_on_no_socket_file(home_with_database: Home) -> None:
    base = database_of(home_with_database)
    async with serving(base, home_with_database):
        listening = {c.laddr[0] for c in server_of(base).net_connections("inet") if c.status == "LISTEN"}
        files = server_of(base).net_connections("unix")

    assert (listening, files) == ({"127.0.0.1"}, [])


async def test_data_outlives_the_server(home_with_database: Home) -> None:
    base = database_of(home_with_database)
    async with serving(base, home_with_database):
        await ask(base.url, "create table kept as select 42 as answer")
    assert not (base.place.data / "postmaster.pid").exists()
    async with serving(base, home_with_database):
        assert await ask(base.url, "select answer from kept") == 42


async def test_killed_server_comes_back_with_what_was_committed(home_with_database: Home) -> None:
    base = database_of(home_with_database)
    async with serving(base, home_with_database):
        await ask(base.url, "create table committed as select 42 as answer")
        server_of(base).kill()
        async with asyncio.timeout(DEADLINE):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError):
                    assert await ask(base.url, "select answer from committed") == 42
                    return
                await asyncio.sleep(0.02)


async def test_server_that_a_former_run_left_is_stopped(home_with_database: Home) -> None:
    base = database_of(home_with_database)
    await prepare(base)
    orphan = spawn(replace(postgres_part(base).command, death_signal=None))
    async with asyncio.timeout(DEADLINE):
        while not await postgres_part(base).ready():
            await asyncio.sleep(0.02)

    async with serving(base, home_with_database):
        assert not alive(orphan.pid, orphan.start_time)
        assert server_of(base).pid != orphan.pid


async def test_pid_file_that_names_somebody_else_is_no_obstacle(home_with_database: Home) -> None:
    base = database_of(home_with_database)
    await prepare(base)
    (base.place.data / "postmaster.pid").write_text(f"{os.getpid()}\n{base.place.data}\n")

    await stop_leftover(base.place)

    assert not (base.place.data / "postmaster.pid").exists()


async def test_first_start_cut_short_is_begun_again(home: Home) -> None:
    base = database_of(home)
    (base.place.folder / "data.new").mkdir()
    (base.place.folder / "data.new" / "PG_VERSION").write_text("half")

    await prepare(base)

    assert (base.place.data / "PG_VERSION").read_text() == "18\n"


async def test_data_of_another_major_version_is_refused(home: Home) -> None:
    base = database_of(home)
    base.place.data.mkdir()
    (base.place.data / "PG_VERSION").write_text("16\n")

    with pytest.raises(StartError, match="made by PostgreSQL 16"):
        await prepare(base)


async def test_user_without_an_account_is_told_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    base = database_of(home)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    with pytest.raises(StartError, match="needs an account for user id 4000000000"):
        await prepare(replace(base, place=replace(base.place, run_as=None)))


async def test_lost_password_is_named_as_the_reason(home_with_database: Home) -> None:
    await prepare(database_of(home_with_database))

    with pytest.raises(ExceptionGroup) as caught:
        async with serving(database_of(home_with_database, password="drawn again"), home_with_database):
            pass

    assert caught.group_contains(PartFailed, match=r"another password than secrets\.json")


async def test_two_homes_run_side_by_side(home: Home, tmp_path: Path) -> None:
    other = open_home(tmp_path / "other")
    one, two = database_of(home), database_of(other)
    try:
        async with serving(one, home), serving(two, other):
            assert await ask(one.url, "select inet_server_port()") == one.port
            assert await ask(two.url, "select inet_server_port()") == two.port
            assert one.port != two.port
    finally:
        forget(other)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs it as itself")
async def test_root_gives_the_server_to_an_account_that_nobody_else_has(home_with_database: Home) -> None:
    base = database_of(home_with_database)
    async with serving(base, home_with_database):
        owner = server_of(base).uids()

    assert 60_578 <= owner.effective < 61_184
    assert base.place.folder.stat().st_uid == 0
    assert base.place.folder.stat().st_mode & 0o777 == 0o710
    assert {path.stat().st_uid for path in base.place.data.rglob("*")} == {owner.effective}


def test_server_does_not_wait_for_its_clients_when_its_parent_dies(home_with_database: Home) -> None:
    assert postgres_part(database_of(home_with_database)).command.death_signal is signal.SIGINT
