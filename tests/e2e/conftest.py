"""One real stack for the whole run; tests that break it on purpose start their own."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.pair import MODELS, SCALING, SHORT_TIMERS, Pair
from tests.e2e.stack import Stack, free_port, wait_until_left

# Started in the background by a shell, tests ignore Ctrl-C, and so would all that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    """Leave nothing behind, in whatever process of xdist."""
    wait_until_left()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A serving stack that every test shares."""
    made = Stack(tmp_path_factory.mktemp("weft") / "home", free_port())
    made.up()
    yield made
    made.leave()


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own, not yet started."""
    made = Stack(tmp_path / "home", free_port())
    yield made
    made.leave()


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A stack with a second worker and short timers, shared by tests that harm replicas and mend them again."""
    made = Stack(tmp_path_factory.mktemp("pair") / "home", free_port())
    for name, fields in MODELS.items():
        made.write_model(name, **fields)
    made.up(
        WEFT_AUTO_APPROVE_NODES="true",
        WEFT_EXPOSE_NODE_HEADER="true",
        WEFT_QUEUE_WAIT="5s",
        **SHORT_TIMERS,
        **SCALING,
    )
    with made.second_worker("two", WEFT_NODE_LABELS="zone=east", **SHORT_TIMERS) as two:
        yield Pair(made, two)
    made.leave()
