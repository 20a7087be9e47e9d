"""The command line itself: quick to say what it can do, short about what is wrong."""

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from weft_common.cli.app import app

HEAVY = ("grpc", "rich", "asyncpg", "pydantic", "uvloop", "asyncio", "nats", "psutil")


def test_help_names_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output

    assert all(f"  {name} " in shown for name in ("up", "status", "down", "worker", "chat"))


def test_help_waits_for_no_library() -> None:
    code = f"import sys, weft_common.cli; print([name for name in {HEAVY!r} if name in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_what_has_to_change_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "weft_common.cli", "up", "--home", str(tmp_path / "file")]
    failed = subprocess.run(command, capture_output=True, text=True)

    assert failed.returncode == 1
    assert failed.stderr.startswith("weft: WEFT_HOME ")
    assert "Traceback" not in failed.stderr
