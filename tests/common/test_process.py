"""Child processes: their end is seen, their groups go with them, and they go with us."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from weft_common import process
from weft_common.process import Child, Command, Identity, alive, spawn, start_time, stop_process

DEADLINE = 5.0
FOREVER = "import time, sys; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
PARENT = (
    "import subprocess, sys, time\n"
    "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(inner.pid, flush=True)\n"
    "time.sleep(600)"
)


def python(code: str, log: Path | None = None, **more: object) -> Command:
    return Command(argv=(sys.executable, "-c", code), env={}, log=log, **more)  # type: ignore[arg-type]


async def first_line(log: Path) -> str:
    async with asyncio.timeout(DEADLINE):
        while not (log.exists() and log.read_text().endswith("\n")):
            await asyncio.sleep(0.01)
    return log.read_text().splitlines()[0]


async def gone(pid: int, started: int) -> bool:
    async with asyncio.timeout(DEADLINE):
        while alive(pid, started):
            await asyncio.sleep(0.01)
    return True


async def test_exit_code_of_a_child_is_reported() -> None:
    child = spawn(python("raise SystemExit(7)"))

    assert await asyncio.wait_for(child.wait(), DEADLINE) == 7
    assert child.returncode == 7


async def test_output_of_a_child_goes_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log" / "part.log"

    await spawn(python("import sys; print('out', flush=True); sys.stderr.write('err')", log)).wait()

    # A line of grpc's may come first, about a fork beside its threads where other tests have some.
    assert log.read_text().split()[-2:] == ["out", "err"]
    assert log.stat().st_mode & 0o777 == 0o600


async def test_missing_program_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn(Command(argv=(str(tmp_path / "nothing"),), env={}, log=tmp_path / "log"))


async def test_end_is_seen_where_the_kernel_has_no_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(pid: int) -> int:
        raise OSError("no pidfd here")

    monkeypatch.setattr(process.os, "pidfd_open", unavailable)

    child = spawn(python("raise SystemExit(3)"))

    assert await asyncio.wait_for(child.wait(), DEADLINE) == 3


async def test_stop_asks_first(tmp_path: Path) -> None:
    child = spawn(python(FOREVER, tmp_path / "log"))
    await first_line(tmp_path / "log")

    assert await child.stop(grace=DEADLINE) == -signal.SIGTERM


async def test_stop_kills_what_does_not_listen(tmp_path: Path) -> None:
    child = spawn(python(STUBBORN, tmp_path / "log"))
    await first_line(tmp_path / "log")

    assert await child.stop(grace=0.05) == -signal.SIGKILL


async def test_children_of_a_dead_child_go_with_it(tmp_path: Path) -> None:
    child = spawn(python(PARENT, tmp_path / "log"))
    grandchild = int(await first_line(tmp_path / "log"))
    started = start_time(grandchild)
    assert started is not None

    os.kill(child.pid, signal.SIGKILL)
    await asyncio.wait_for(child.wait(), DEADLINE)

    assert await gone(grandchild, started)


async def test_leaving_a_wait_leaves_the_child_running(tmp_path: Path) -> None:
    child = spawn(python(FOREVER, tmp_path / "log"))

    assert not await child.exited_within(0.01)
    assert alive(child.pid, child.start_time)

    await child.stop(grace=0)


async def test_child_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from weft_common.process import Command, spawn\n"
        "async def main():\n"
        f"    command = Command(argv=(sys.executable, '-c', {FOREVER!r}), env={{}}, log=Path({str(log)!r}))\n"
        "    child = spawn(command)\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        started = start_time(pid)
        assert started is not None
        await first_line(log)
        parent.kill()

    assert await gone(pid, started)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_death_wish_survives_the_change_of_user(tmp_path: Path) -> None:
    code = (
        "import ctypes, os; wish = ctypes.c_int()\n"
        "ctypes.CDLL(None).prctl(2, ctypes.byref(wish)); print(os.getuid(), wish.value)"
    )
    interpreter = Path("/usr/bin/python3")
    if not interpreter.exists():
        pytest.skip("needs an interpreter that every user may run")
    log = tmp_path / "log"

    await spawn(
        Command(
            argv=(str(interpreter), "-c", code),
            env={},
            log=log,
            run_as=Identity(60_999, 60_999),
            death_signal=signal.SIGINT,
        )
    ).wait()

    assert log.read_text().split() == ["60999", str(int(signal.SIGINT))]


async def test_stranger_is_stopped_by_pid_and_start_time() -> None:
    with subprocess.Popen([sys.executable, "-c", FOREVER], stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        started = start_time(stranger.pid)
        assert started is not None

        await stop_process(stranger.pid, started + 1, grace=0)
        assert alive(stranger.pid, started)

        await stop_process(stranger.pid, started, grace=DEADLINE)
        assert not alive(stranger.pid, started)


async def test_killing_an_ended_child_reaches_nobody() -> None:
    child: Child = spawn(python("pass"))
    await child.wait()

    child.kill()
    child.send(signal.SIGTERM)


def test_pid_that_does_not_exist_has_no_start_time() -> None:
    assert start_time(2**22 + 1) is None
