"""A model that is spread over all nodes its policy selects: over those that join as well, and no others."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.crowd import ask_all, chat
from tests.e2e.pair import SHORT_TIMERS, Pair
from tests.e2e.stack import Stack, eventually, free_port

pytestmark = pytest.mark.e2e

SPREAD = "spread"
EAST = {"WEFT_NODE_LABELS": "zone=east"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two workers in the east."""
    stack = Stack(tmp_path_factory.mktemp("spreading") / "home", free_port())
    stack.write_model(SPREAD, parallel=4, max_queue=100)
    stack.up(WEFT_AUTO_APPROVE_NODES="true", WEFT_EXPOSE_NODE_HEADER="true", **SHORT_TIMERS, **EAST)
    with stack.second_worker("two", **SHORT_TIMERS, **EAST) as two:
        yield Pair(stack, two)
    stack.leave()


def label(pair: Pair, node: str, zone: str) -> None:
    with pair.stack.client() as client:
        answer = client.patch(f"/api/nodes/{node}/labels", json={"labels": {"zone": zone}})
    assert answer.status_code == 200, answer.text


def nodes_with_one(pair: Pair) -> list[str]:
    """Where the model runs, a node for each of its replicas."""
    parts = pair.stack.parts("replica:")
    return sorted(part.name.removeprefix("replica:").partition("/")[0] for part in parts)


def spread_over(pair: Pair, *nodes: str) -> None:
    """Wait until it runs once on each of these, and all of them answer."""
    eventually(lambda: nodes_with_one(pair) == sorted(nodes), what=f"one on each of {nodes}", seconds=20)
    eventually(lambda: answered_by(pair) == set(nodes), what=f"answers by {nodes}")


def answered_by(pair: Pair) -> set[str]:
    answers = ask_all(pair.stack, [chat(SPREAD, "tokens=1") for _ in range(8)])
    assert all(answer.ok for answer in answers), answers
    return {answer.headers["x-weft-node"] for answer in answers}


def why(pair: Pair) -> list[Any]:
    """The reconciler's reasons, in order."""
    return [r["why"] for r in pair.stack.records("log/router-0.log", "reconciling")]


def test_each_node_that_a_policy_selects_has_one_also_if_it_joins_later_or_is_labelled(pair: Pair) -> None:
    with pair.stack.client() as client:
        wish = {"model_name": SPREAD, "spread_all": True, "node_selector": {"zone": "east"}}
        answer = client.post("/api/nodes/scheduling", json=wish)
    assert answer.status_code == 200, answer.text
    spread_over(pair, "local", "two")

    with pair.stack.second_worker("three", **SHORT_TIMERS, **EAST):
        spread_over(pair, "local", "three", "two")
        assert "three has none" in why(pair)
        label(pair, "two", "west")
        spread_over(pair, "local", "three")
        assert why(pair)[-1] == "it can never serve: its model or its node's labels changed"
        label(pair, "two", "east")
        spread_over(pair, "local", "three", "two")
        assert why(pair)[-1] == "two has none"
