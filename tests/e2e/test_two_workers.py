"""Two replicas on two workers: who serves, and that a second one stands in."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, free_port

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a second worker, and the tiny model on both."""
    made = Stack(tmp_path_factory.mktemp("pair") / "home", free_port())
    made.up(WEFT_AUTO_APPROVE_NODES="true", WEFT_EXPOSE_NODE_HEADER="true")
    with made.second_worker("two"):
        for node in ("local", "two"):
            done = made.weft("load", "weft-tiny", "--node", node)
            assert done.returncode == 0, done.stderr
        yield made
    made.weft("down", "--purge")


def test_both_replicas_are_listed(pair: Stack) -> None:
    assert {p.name for p in pair.parts("replica:")} == {
        "replica:local/weft-tiny#0",
        "replica:two/weft-tiny#0",
    }
