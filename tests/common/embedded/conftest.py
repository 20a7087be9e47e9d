"""A home of its own for each test, taken away with the database that root keeps elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from weft_common.embedded import postgres_place
from weft_common.home import Home, open_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path / "home")
    yield home
    postgres_place.forget(home)
