"""One real stack for the whole run; tests that break it on purpose start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack, free_port


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A serving stack that every test shares."""
    made = Stack(tmp_path_factory.mktemp("weft") / "home", free_port())
    made.up()
    yield made
    made.weft("down", "--purge")  # root keeps the database outside of the home


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own, not yet started."""
    made = Stack(tmp_path / "home", free_port())
    yield made
    made.weft("down", "--purge")  # root keeps the database outside of the home
