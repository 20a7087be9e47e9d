"""The reconciler and what keeps models warm: its steps are done, a step of policies before them."""

from tests.router.builders import GIB, a_model, a_node, a_replica
from tests.router.reconciling import TWO, FakeWarmth, World
from weft_common.errors import LoadFailed
from weft_router.fleet.entities import Changes
from weft_router.fleet.load_job import LoadJob
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Grow, Shrink


async def test_what_warmth_asks_for_is_done_one_step_for_a_model_and_none_that_has_one_already() -> None:
    asks = (Shrink(a_replica(), "idle"), Grow("n", "expected"), Grow("n", "expected twice"))
    world = World(*TWO, a_model(), a_model("n"), a_replica(), warmth=FakeWarmth(asks))
    await world.step()
    assert (world.unloads.unloaded, world.loads.asked) == (["r-1"], [("n", None, False)])
    needed = World(*TWO, a_model(), a_replica(), Policy("m", min_replicas=2), warmth=FakeWarmth(asks[:1]))
    await needed.step()
    assert (needed.unloads.unloaded, needed.loads.asked) == ([], [("m", None, True)])


async def test_what_is_expected_is_not_loaded_where_others_would_have_to_go_or_while_it_loads() -> None:
    full = a_node(free_gib=0)
    model = a_model("n", size_bytes=8 * GIB)
    world = World(full, a_model(), model, a_replica(), warmth=FakeWarmth((Grow("n", "expected"),)))
    assert world.look() == []
    roomy = World(a_node(free_gib=9), model, warmth=FakeWarmth((Grow("n", "expected"),)))
    assert roomy.look() == [Grow("n", "expected")]
    job = LoadJob(id="l-1", model="n", revision="rev1", owner="r")
    roomy.fleet.apply(Changes(sequence=3, loads=(job,)))
    assert roomy.look() == []


async def test_a_load_that_fails_is_not_tried_at_once_again_for_what_is_expected() -> None:
    world = World(*TWO, a_model("n"), warmth=FakeWarmth((Grow("n", "expected"),)))
    world.loads.error = LoadFailed("broken weights")
    assert await world.asked_after(60) < 10


async def test_a_step_says_what_raises_the_minimum_just_now() -> None:
    world = World(
        *TWO, a_model(), Policy("m", min_replicas=1), warmth=FakeWarmth(says="the warm window is open")
    )
    (step,) = world.look()
    assert step.reason == "0 of at least 1 replicas: the warm window is open"
