"""PostgreSQL from a wheel's binaries: SCRAM over TCP on 127.0.0.1, no unix socket, as root or not."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg

from weft_common.embedded.postgres_place import MAJOR, Place, install, installed
from weft_common.home import Home, StartError
from weft_common.part import Part, Stage
from weft_common.process import Command, Identity, alive, spawn, start_time
from weft_common.process_log import tail

HOST = "127.0.0.1"
_USER = "weft"
_ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    # The state of a control plane is small: helper processes for its reads would only sit there.
    "io_method": "sync",
    "log_checkpoints": "off",
}
_INITDB_SECONDS = 60.0
_STOP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Database:
    """Everything there is to know about one embedded database."""

    place: Place
    port: int
    password: str
    log: Path

    @property
    def url(self) -> str:
        return f"postgresql://{_USER}:{self.password}@{HOST}:{self.port}/postgres?sslmode=disable"


def database(home: Home, place: Place, *, port: int, password: str) -> Database:
    """Return this home's database."""
    return Database(place=place, port=port, password=password, log=home.log("postgres"))


def postgres_part(base: Database) -> Part:
    """Return the database as a part."""
    settings = {**_SETTINGS, "port": str(base.port)}
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Part(
        name="postgres",
        address=f"{HOST}:{base.port}",
        command=Command(
            argv=(str(installed(base.place) / "bin" / "postgres"), "-D", str(base.place.data), *arguments),
            env=_ENV,
            log=base.log,
            run_as=base.place.run_as,
            # On SIGTERM it would wait for every client to leave; SIGINT ends their sessions, cleanly.
            death_signal=signal.SIGINT,
        ),
        ready=partial(_ready, base),
        prepare=partial(prepare, base),
        stage=Stage.STORES,
        stop_signal=signal.SIGINT,
    )


async def prepare(base: Database) -> None:
    """Leave a data folder that the server can start on: made if missing, without a former server in it."""
    await asyncio.to_thread(install, base.place)
    await stop_leftover(base.place)
    if not base.place.data.exists():
        await _initialise(base)
    version = (base.place.data / "PG_VERSION").read_text().strip()
    if version != str(MAJOR):
        raise StartError(
            f"the database in {base.place.data} was made by PostgreSQL {version}, this is {MAJOR}: "
            "dump it with the former version of Weft, or start with a fresh WEFT_HOME"
        )


async def stop_leftover(place: Place) -> None:
    """Stop a server that an earlier run left in the data folder, with its helpers, and drop its pid file.

    It is found by its working folder. The pid file alone would not do: its number may belong to somebody
    else by now, and the new server would refuse to start beside that process.
    """
    # The helpers of a killed server leave by themselves; a signal meant for it would be an order to them.
    for number, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGKILL, 1.0)):
        found = list(_servers(place.data.resolve()))
        for pid, _ in found:
            if number is signal.SIGKILL or _is_main(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        await _until_gone(found, seconds)
    (place.data / "postmaster.pid").unlink(missing_ok=True)


def _servers(data: Path) -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            inside = (entry / "cwd").readlink() == data
        except OSError:  # gone, or another user's
            continue
        started = start_time(int(entry.name)) if inside else None
        if started is not None:
            yield int(entry.name), started


def _is_main(pid: int) -> bool:
    """Say whether this is the server itself: helpers show a title in place of its arguments."""
    try:
        return b"\0-D\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def _until_gone(processes: list[tuple[int, int]], seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while any(alive(pid, started) for pid, started in processes):
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(0.02)


async def _initialise(base: Database) -> None:
    """Make the data folder under another name first, so that a start cut short is no broken database."""
    place = base.place
    fresh = place.folder / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    borrowed = _account(place.run_as)
    _give(fresh, borrowed)
    reader = _offer(base.password, borrowed)
    try:
        await _run(
            base,
            borrowed,
            (reader,),
            "--no-sync",
            "--no-instructions",
            "-D",
            str(fresh),
            "-U",
            _USER,
            "-E",
            "UTF8",
            "--locale=C",
            "--auth=scram-sha-256",
            f"--pwfile=/dev/fd/{reader}",
        )
    finally:
        os.close(reader)
    for folder, _, files in os.walk(fresh):
        for name in ("", *files):
            _give(Path(folder, name), place.run_as)
    # One call for the whole file system; a call for each of a thousand files took up to a hundred times longer.
    await _run(base, place.run_as, (), "--sync-only", "--sync-method=syncfs", "-D", str(fresh))
    fresh.rename(place.data)


async def _run(base: Database, identity: Identity | None, pass_fds: tuple[int, ...], *arguments: str) -> None:
    command = Command(
        argv=(str(installed(base.place) / "bin" / "initdb"), *arguments),
        env=_ENV,
        log=base.log,
        run_as=identity,
        pass_fds=pass_fds,
        death_signal=signal.SIGKILL,
    )
    child = spawn(command)
    try:
        await child.exited_within(_INITDB_SECONDS)
    finally:
        child.kill()
        code = await child.wait()
    if code != 0:
        raise StartError(f"initdb failed with code {code}:\n{tail(base.log)}")


def _offer(password: str, identity: Identity | None) -> int:
    """Return the reading end of a pipe with the password: it is never in a file or a list of processes."""
    reader, writer = os.pipe()
    if identity is not None:
        os.fchown(reader, identity.uid, identity.gid)
    os.write(writer, password.encode() + b"\n")
    os.close(writer)
    return reader


def _account(identity: Identity | None) -> Identity | None:
    """Return the identity for initdb, which insists that its user has an account; the server does not.

    The account lends its number only. The group stays our own, so that no other process of that account can
    enter the folder, or look into initdb.
    """
    if identity is None:
        _refuse_nobody(os.geteuid())
        return None
    if any(entry.pw_uid == identity.uid for entry in pwd.getpwall()):
        return identity
    accounts = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0}
    if not accounts:
        raise StartError("PostgreSQL cannot be set up by root without any other account in /etc/passwd")
    return Identity(accounts.get("nobody", next(iter(accounts.values()))), identity.gid)


def _refuse_nobody(uid: int) -> None:
    """An ordinary user cannot borrow an account as root does (a container's --user often has none)."""
    try:
        pwd.getpwuid(uid)
    except KeyError as error:
        raise StartError(
            f"PostgreSQL's initdb needs an account for user id {uid}, and /etc/passwd has none: run as a user that "
            "it names (in a container: one of the image's), or use another PostgreSQL with WEFT_POSTGRES_URL"
        ) from error


def _give(path: Path, identity: Identity | None) -> None:
    if identity is not None:
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)


async def _ready(base: Database) -> bool:
    try:
        connection = await asyncpg.connect(base.url, timeout=1.0)
    except asyncpg.InvalidPasswordError as error:
        raise StartError(
            f"the database in {base.place.data} has another password than secrets.json: restore that file"
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True
