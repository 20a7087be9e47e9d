"""`weft down`: ends everything that runs with this WEFT_HOME, and on request what it knows."""

import asyncio
import shutil
from pathlib import Path

from weft_common.cli.leftovers import stop_leftovers
from weft_common.embedded import postgres_place
from weft_common.embedded.postgres import stop_leftover
from weft_common.home import Home
from weft_common.process import stop_process
from weft_common.run_lock import AlreadyRunning, hold_lock, read_owner

# What `weft up` may take for a stop, and a little more.
_STOP_SECONDS = 8.0
_LOCK_SECONDS = 5.0


def run_down(root: Path, *, purge: bool) -> int:
    """Stop everything and return the exit code."""
    home = Home(root.expanduser().absolute())
    if not home.lock.parent.is_dir():
        print(f"nothing runs: there is no Weft in {home.root}")
        return 0
    stopped = asyncio.run(_down(home))
    print("stopped" if stopped else "nothing was running")
    if purge:
        print(_purge(home))
    return 0


async def _down(home: Home) -> bool:
    owner = read_owner(home.lock)
    was_up = owner is not None and owner.running
    if owner is not None:
        await stop_process(owner.pid, owner.start_time, grace=_STOP_SECONDS)
    async with asyncio.timeout(_LOCK_SECONDS + _STOP_SECONDS):
        return await _sweep(home, url="" if owner is None else owner.url) or was_up


async def _sweep(home: Home, *, url: str) -> bool:
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    while True:
        try:
            with hold_lock(home.lock, url):
                return await _stop_everything(home)
        except AlreadyRunning:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)


async def _stop_everything(home: Home) -> bool:
    stopped = await stop_leftovers(home, every_worker=True)
    if home.postgres_place.exists():
        await stop_leftover(postgres_place.locate(home))
    return bool(stopped)


def _purge(home: Home) -> str:
    """Remove what Weft made and nothing else: WEFT_HOME may be a folder that holds other things too."""
    postgres_place.forget(home)
    for path in home.everything():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    left = sorted(path.name for path in home.root.iterdir())
    if left:
        return f"removed the state in {home.root}; the folder stays, for it holds other things: {', '.join(left)}"
    home.root.rmdir()
    return f"removed {home.root}"
