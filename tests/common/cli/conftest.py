"""Runs the command line against a home of its own, and leaves nothing behind."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.common.cli.shell import DEADLINE, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "home")
    yield shell
    shell.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait for something that other processes bring about."""

    def wait(seen: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not seen():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait
