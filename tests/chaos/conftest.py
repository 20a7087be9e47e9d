"""Stacks with the timers that users have. Each test gets its own: what it does takes minutes anyway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.pair import MODELS, Pair
from tests.e2e.stack import Stack, free_port
from tests.faults import Stores, running_stores


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of one machine, with models that nobody has loaded."""
    made = Stack(tmp_path / "home", free_port())
    for name in ("warm", "cold"):
        made.write_model(name, parallel=8)
    made.up()
    yield made
    made.weft("down", "--purge")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    with running_stores(tmp_path / "stores") as running:
        yield running


@pytest.fixture
def far(stores: Stores, tmp_path: Path) -> Iterator[Stack]:
    """The same with its stores elsewhere."""
    made = Stack(tmp_path / "home", free_port())
    for name in ("warm", "cold"):
        made.write_model(name, parallel=8)
    made.up(**stores.environment)
    yield made
    made.weft("down", "--purge")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two workers."""
    made = Stack(tmp_path / "home", free_port())
    for name, fields in MODELS.items():
        made.write_model(name, **fields)
    made.up(WEFT_AUTO_APPROVE_NODES="true", WEFT_EXPOSE_NODE_HEADER="true")
    with made.second_worker("two") as two:
        yield Pair(made, two)
    made.weft("down", "--purge")
