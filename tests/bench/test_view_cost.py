"""What a router's update costs a gateway, on the event loop that all its requests share, and how that grows.

`make bench` prints the table; docs/benchmarks.md has it with a sentence on each line.
"""

from collections.abc import Callable
from itertools import count

import pytest

from tests.bench.measure import fastest, row
from tests.gateway.builders import a_full_update, a_model, a_node, a_replica, a_view, an_update
from weft_gateway.fleet_view import FleetView, Update

pytestmark = pytest.mark.bench

# Ten replicas on each node, ten of each model, each of them on a node of its own.
_EACH = 10


def everything(nodes: int, sequence: int = 1) -> Update:
    names = [f"n-{i}" for i in range(nodes)]
    models = [f"m-{i}" for i in range(nodes)]
    return a_full_update(
        sequence,
        nodes=[a_node(name) for name in names],
        models=[a_model(name) for name in models],
        replicas=[
            a_replica(f"r-{turn}-{i}", node_id=f"n-{(i + turn) % nodes}", model=models[i])
            for turn in range(_EACH)
            for i in range(nodes)
        ],
        heard=tuple(names),
    )


def full(nodes: int) -> Callable[[], object]:
    view, update, turns = a_view(), everything(nodes), count(1)

    def work() -> None:
        update.sequence = next(turns)
        view.apply(update)

    return work


def changing(update: Update) -> Callable[[int], Callable[[], object]]:
    """Applies an update again and again, to a fleet of so many nodes; each time it is new."""

    def made(nodes: int) -> Callable[[], object]:
        view: FleetView = a_view()
        view.apply(everything(nodes))
        turns = count(2)

        def work() -> None:
            if update.sequence:
                update.sequence = next(turns)
            view.apply(update)

        return work

    return made


def test_an_update_costs_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    works = {
        "a node was heard from": changing(an_update(0, heard=("n-7",))),
        "a node with ten replicas changed": changing(an_update(2, nodes=[a_node("n-7")])),
        "a replica changed": changing(
            an_update(2, replicas=[a_replica("r-0-7", node_id="n-7", model="m-7")])
        ),
        "everything, anew": full,
    }
    for name, work in works.items():
        small, large = fastest(work(100), work(1_000))
        with capsys.disabled():
            print("\n" + row(f"{name}, 1,000 replicas", small, small), end="")
            print("\n" + row(f"{name}, 10,000 replicas", large, small), end="")
        assert large / small < (20 if work is full else 2), name
