"""A home of its own for each test, taken away with the database that root keeps elsewhere."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.common.embedded.databases import database_of
from weft_common.embedded import postgres_place
from weft_common.embedded.postgres import prepare
from weft_common.home import Home, open_home


@pytest.fixture(scope="session")
def home_with_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose database was set up once, for tests that only start it."""
    home = open_home(tmp_path_factory.mktemp("shared") / "home")
    asyncio.run(prepare(database_of(home)))
    yield home
    postgres_place.forget(home)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    yield home
    postgres_place.forget(home)
