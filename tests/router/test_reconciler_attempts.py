"""The reconciler leaves alone for a while what cannot be, and tries anew where things differ."""

from typing import Any

import pytest

from tests.router.builders import GIB, a_model, a_node
from tests.router.reconciling import TWO, World
from weft_common.errors import LoadFailed, ModelLoading, NoCapacity, PartUnavailable, WeftError
from weft_router.fleet.entities import Model, Node
from weft_router.fleet.policy import Policy
from weft_router.placement.decide import decide
from weft_router.placement.decision import Decision


async def test_without_a_place_nothing_is_loaded_until_one_is_found() -> None:
    world = World(a_node(free_gib=1), a_model(size_bytes=2 * GIB), Policy("m", min_replicas=1))
    assert await world.asked_after(30) == 0
    world.change(a_node("two"))
    assert await world.asked_after(1) == 1


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many looks for a place there were, one entry for each."""
    looks: list[int] = []

    def noted(*args: Any, **more: Any) -> Decision:
        looks.append(len(looks))
        return decide(*args, **more)

    monkeypatch.setattr("weft_router.reconciler.decide", noted)
    return looks


async def test_what_cannot_be_satisfied_is_given_up_after_three_looks_for_five_minutes(
    looked: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    world = World(a_node(free_gib=1), a_model(size_bytes=2 * GIB), Policy("m", min_replicas=1))
    for seconds, looks in ((10, 3), (290, 3), (10, 4), (290, 4), (10, 5)):
        await world.asked_after(seconds)
        assert len(looked) == looks
    given_up = [r for r in caplog.records if r.message == "reconciling_gave_up"]
    assert len(given_up) == 1


@pytest.mark.parametrize(
    "change",
    [
        a_node(free_gib=8),  # memory comes free
        a_node("two"),  # a node joins
        a_node(free_gib=1, labels={"zone": "eu"}),  # labels change
        a_model("other", pinned=True),  # what is protected changes
    ],
)
async def test_whatever_may_make_a_place_ends_the_pause_at_once(
    change: Node | Model, looked: list[int]
) -> None:
    world = World(a_node(free_gib=1), a_model(size_bytes=2 * GIB), Policy("m", min_replicas=1))
    await world.asked_after(60)
    assert len(looked) == 3
    world.change(change)
    await world.asked_after(1)
    assert len(looked) == 4


async def test_a_load_that_fails_three_times_is_left_alone_for_five_minutes() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = LoadFailed("out of memory at layer 7")
    assert await world.asked_after(60) == 3
    assert await world.asked_after(240) == 0
    assert await world.asked_after(20) == 1


@pytest.mark.parametrize(
    "change", [a_node("two", labels={"zone": "eu"}), a_node("three"), a_model(revision="rev2")]
)
async def test_a_node_that_joins_or_is_labelled_and_another_model_file_end_the_pause(
    change: Node | Model,
) -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = LoadFailed("out of memory at layer 7")
    await world.asked_after(60)
    world.change(change)
    assert await world.asked_after(1) == 1


async def test_a_load_that_takes_long_is_no_failure() -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = ModelLoading("still loading")
    assert await world.asked_after(5) == 5


@pytest.mark.parametrize("error", [PartUnavailable("NATS cannot be reached"), NoCapacity("all are busy")])
async def test_what_passes_by_itself_is_waited_for(error: WeftError) -> None:
    world = World(*TWO, a_model(), Policy("m", min_replicas=1))
    world.loads.error = error
    assert await world.asked_after(30) == 5
    world.loads.error = None
    assert await world.asked_after(10) >= 1
