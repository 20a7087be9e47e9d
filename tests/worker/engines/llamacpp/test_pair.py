"""Two threads of the library that wait for each other are found, kept together while tokens come fast, and freed."""

import os
from collections.abc import Iterable
from contextlib import aclosing

import pytest

from tests.worker.engines.answers import WEFT_TINY, question
from tests.worker.fake_threads import FakeThreads
from weft_worker.engines.base import EngineModel
from weft_worker.engines.llamacpp import LlamaCppEngine
from weft_worker.engines.llamacpp.pair import Pair, pair_of
from weft_worker.native_threads import LinuxThreads, Use

COMPUTES, WAITS, DOOR, SPINS = 11, 12, 13, 14
NOTHING = Use(0.0, 0.0, 0)
ANYWHERE = frozenset({0, 1, 2, 3})


def a_burst(threads: FakeThreads, *, waited_seconds: float = 0.0) -> None:
    """What the two have between two looks at an answer of thousands of tokens a second."""
    threads.run(COMPUTES, Use(0.018, waited_seconds, 60))
    threads.run(WAITS, Use(0.001, 0.0, 120))


@pytest.fixture
def threads() -> FakeThreads:
    return FakeThreads(ANYWHERE, [COMPUTES, WAITS, DOOR])


@pytest.fixture
def pair(threads: FakeThreads) -> Pair:
    """After two looks: they are known, and not kept yet."""
    made = Pair(threads)
    made.enter()
    made.look(100.0)
    a_burst(threads)
    made.look(100.025)
    return made


def kept(threads: FakeThreads) -> dict[int, frozenset[int]]:
    return {thread: cpus for thread, cpus in threads.allowed.items() if cpus != ANYWHERE}


def test_both_are_kept_where_the_one_that_computes_is(threads: FakeThreads, pair: Pair) -> None:
    threads.places[COMPUTES], threads.places[WAITS] = 3, 1
    pair.look(100.05)
    assert kept(threads) == {COMPUTES: {3}, WAITS: {3}}


def test_after_the_last_answer_the_kernel_may_choose_again(threads: FakeThreads, pair: Pair) -> None:
    pair.enter()
    pair.look(100.05)
    pair.leave()
    assert set(kept(threads)) == {COMPUTES, WAITS}
    pair.leave()
    assert kept(threads) == {}


def test_the_next_answer_is_kept_at_its_first_look(threads: FakeThreads, pair: Pair) -> None:
    pair.look(100.05)
    pair.leave()
    pair.enter()
    threads.places[COMPUTES] = 2
    pair.look(200.0)
    assert kept(threads) == {COMPUTES: {2}, WAITS: {2}}


def test_who_has_to_wait_for_the_processor_moves(threads: FakeThreads, pair: Pair) -> None:
    pair.look(100.05)
    a_burst(threads, waited_seconds=0.0024)
    pair.look(100.075)
    assert set(kept(threads)) == {COMPUTES, WAITS}
    a_burst(threads, waited_seconds=0.0026)
    pair.look(100.1)
    assert kept(threads) == {}
    threads.places[COMPUTES] = 1
    pair.look(100.125)
    assert kept(threads) == {COMPUTES: {1}, WAITS: {1}}


def test_looks_are_rare_however_often_one_asks(threads: FakeThreads) -> None:
    pair = Pair(threads)
    for step in range(1000):
        pair.look(100.0 + step * 1e-5)
    assert threads.asked_count == 1


def test_looks_far_apart_tell_nothing(threads: FakeThreads) -> None:
    pair = Pair(threads)
    pair.enter()
    for now in (100.0, 200.0, 300.0):
        pair.look(now)
        a_burst(threads)
    assert kept(threads) == {}


def test_who_is_not_found_is_not_looked_for_without_end(threads: FakeThreads) -> None:
    pair = Pair(threads)
    for step in range(1000):
        pair.look(100.0 + step * 0.025)
    assert threads.asked_count == 50


def test_where_several_compute_nobody_is_looked_for(threads: FakeThreads) -> None:
    Pair(threads, is_one=False).look(100.0)
    assert threads.asked_count == 0


def test_a_kernel_that_does_not_tell_is_asked_once(threads: FakeThreads) -> None:
    pair = Pair(threads)
    threads.failure = PermissionError(1, "not yours")
    pair.enter()
    pair.look(100.0)
    pair.look(101.0)
    pair.leave()
    assert threads.asked_count == 1


def test_a_thread_that_is_gone_leaves_the_other_free(threads: FakeThreads, pair: Pair) -> None:
    pair.look(100.05)
    threads.end(WAITS)
    threads.failure = ProcessLookupError(3, "gone")
    pair.look(100.075)
    assert kept(threads) == {}
    pair.look(100.1)
    assert kept(threads) == {}


@pytest.mark.parametrize(
    "had",
    [
        pytest.param({COMPUTES: Use(0.018, 0, 60)}, id="one alone"),
        pytest.param({COMPUTES: Use(0.018, 0, 60), WAITS: Use(0.001, 0, 9)}, id="too rarely awake"),
        pytest.param({COMPUTES: Use(0.018, 0, 60), WAITS: Use(0.006, 0, 60)}, id="both compute"),
        pytest.param(
            {COMPUTES: Use(0.018, 0, 60), SPINS: Use(0.017, 0, 60), WAITS: Use(0.001, 0, 60)},
            id="several compute",
        ),
    ],
)
def test_what_is_not_plain_is_no_pair(had: dict[int, Use]) -> None:
    assert pair_of(dict.fromkeys(had, NOTHING), had) is None


def test_who_has_just_begun_is_not_judged() -> None:
    later = {COMPUTES: Use(0.018, 0, 60), WAITS: Use(0.001, 0, 60)}
    assert pair_of({COMPUTES: NOTHING}, later) is None
    assert pair_of(dict.fromkeys(later, NOTHING), later) == (COMPUTES, WAITS)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor only")
async def test_the_library_has_such_a_pair() -> None:
    threads, engine = LinuxThreads(), LlamaCppEngine()
    await engine.load(EngineModel("weft-tiny", str(WEFT_TINY), 512, thread_count=1), lambda _: None)
    seen: set[frozenset[int]] = set()
    for _ in range(50):  # more than one where much else goes on here
        async with aclosing(engine.generate(question("Tell me a story.", max_tokens=400))) as events:
            async for _event in events:
                seen.add(_alone(threads.uses()))
        assert not _alone(threads.uses()), "nobody generates"
        if any(len(pair) == 2 for pair in seen):
            break
    await engine.close()
    assert {len(pair) for pair in seen} <= {0, 1, 2}, "one, while the other is just being set"
    assert any(len(pair) == 2 for pair in seen)


def _alone(threads: Iterable[int]) -> frozenset[int]:
    """Those that may run on one processor only."""
    return frozenset(thread for thread in threads if len(os.sched_getaffinity(thread)) == 1)
