"""A home has one owner at a time, and says who."""

import os
from pathlib import Path

import pytest

from weft_common.run_lock import AlreadyRunning, hold_lock, read_owner

URL = "http://127.0.0.1:8080"


def test_second_owner_learns_who_the_first_is(tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path / "lock", URL),
        pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()} at {URL}"),
        hold_lock(tmp_path / "lock", URL),
    ):
        pass


def test_lock_is_free_again_when_its_owner_left(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "lock", URL):
        pass
    with hold_lock(tmp_path / "lock", URL):
        pass


def test_owner_says_when_it_serves(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "lock", URL) as now_serving:
        before = read_owner(tmp_path / "lock")
        now_serving()
        after = read_owner(tmp_path / "lock")

    assert before is not None
    assert after is not None
    assert (before.serving, after.serving, after.running) == (False, True, True)


def test_lock_that_nobody_wrote_has_no_owner(tmp_path: Path) -> None:
    assert read_owner(tmp_path / "lock") is None
