"""Two threads of the library that wait for each other are found, kept together while tokens come fast, and let go."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from tests.worker.engines.answers import WEFT_TINY, question
from tests.worker.fake_threads import FakeThreads
from weft_worker.engines.base import EngineModel
from weft_worker.engines.llamacpp import LlamaCppEngine
from weft_worker.engines.llamacpp.thread_pair import Pair, ThreadPair, pair_of
from weft_worker.native_threads import CpuUse, LinuxThreads

COMPUTES, WAITS, DOOR, SPINS = 11, 12, 13, 14
NOTHING = CpuUse(0.0, 0.0, 0)
ANYWHERE = frozenset({0, 1, 2, 3})
STEP_SECONDS = 0.025


class Story:
    """Looks one step after the other; state: the time."""

    def __init__(self, threads: FakeThreads) -> None:
        self.threads = threads
        self.pair = ThreadPair(threads, has_one_computing=True)
        self.now = 100.0

    def step(
        self, *, fast: bool = True, waited_seconds: float = 0.0, after_seconds: float = STEP_SECONDS
    ) -> None:
        """What the two have between two looks at thousands of tokens a second, and the look."""
        self.now += after_seconds
        for thread, had in ((COMPUTES, CpuUse(0.018, waited_seconds, 60)), (WAITS, CpuUse(0.001, 0.0, 120))):
            if thread in self.threads.affinity:
                self.threads.run(thread, had)
        self.pair.look(self.now, fast=fast)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def kept(self) -> dict[int, frozenset[int]]:
        """Those that may not run anywhere."""
        return {thread: place for thread, place in self.threads.affinity.items() if place != ANYWHERE}


@pytest.fixture
def story() -> Story:
    return Story(FakeThreads(ANYWHERE, [COMPUTES, WAITS, DOOR]))


@pytest.fixture
def kept(story: Story) -> Iterator[Story]:
    """A story in which the two have been found and kept."""
    with story.pair.answering():
        story.steps(3)
        assert set(story.kept()) == {COMPUTES, WAITS}
        yield story


def test_both_are_kept_where_the_one_that_computes_is(story: Story) -> None:
    story.threads.places |= {COMPUTES: 3, WAITS: 1}
    with story.pair.answering():
        story.steps(3)
        assert story.kept() == {COMPUTES: {3}, WAITS: {3}}


def test_after_the_last_answer_the_kernel_chooses_again(story: Story) -> None:
    with story.pair.answering():
        with story.pair.answering():
            story.steps(3)
        assert set(story.kept()) == {COMPUTES, WAITS}
    assert story.kept() == {}
    story.steps(3)  # of an answer that was given up
    assert story.kept() == {}


def test_an_answer_that_fails_is_over_too(story: Story) -> None:
    with pytest.raises(RuntimeError), story.pair.answering():
        story.steps(3)
        raise RuntimeError
    assert story.kept() == {}


def test_the_next_answer_is_kept_at_its_first_look(story: Story) -> None:
    with story.pair.answering():
        story.steps(3)
    story.threads.places[COMPUTES] = 2
    with story.pair.answering():
        story.step(after_seconds=3600.0)
        assert story.kept() == {COMPUTES: {2}, WAITS: {2}}


def test_they_are_let_go_to_where_each_could_run_before(story: Story) -> None:
    story.threads.allow(WAITS, {0, 1})
    with story.pair.answering():
        story.steps(3)
        assert story.kept() == {COMPUTES: {0}, WAITS: {0}}
    assert story.kept() == {WAITS: {0, 1}}


def test_who_has_to_wait_for_the_processor_moves(kept: Story) -> None:
    kept.step(waited_seconds=0.0024)
    assert set(kept.kept()) == {COMPUTES, WAITS}
    kept.step(waited_seconds=0.0026)
    assert kept.kept() == {}
    kept.threads.places[COMPUTES] = 1
    kept.step()
    assert kept.kept() == {COMPUTES: {1}, WAITS: {1}}


def test_where_all_processors_are_wanted_moves_become_rare(kept: Story) -> None:
    moves, before = 0, True
    for _ in range(400):  # ten seconds
        kept.step(waited_seconds=0.01)
        is_kept = bool(kept.kept())
        moves += is_kept and not before
        before = is_kept
    assert 5 <= moves <= 20


def test_who_is_no_longer_fast_is_let_go(kept: Story) -> None:
    for _ in range(3):
        kept.step(fast=False)
    assert set(kept.kept()) == {COMPUTES, WAITS}, "a tenth of a second"
    for _ in range(2):
        kept.step(fast=False)
    assert kept.kept() == {}
    kept.step()
    assert set(kept.kept()) == {COMPUTES, WAITS}


def test_after_five_seconds_all_is_looked_at_anew(kept: Story) -> None:
    kept.threads.places[COMPUTES] = 3
    kept.steps(199)
    assert kept.kept() == {COMPUTES: {0}, WAITS: {0}}
    kept.steps(2)
    assert kept.kept() == {}
    kept.threads.places[COMPUTES] = 3
    kept.steps(2)
    assert kept.kept() == {COMPUTES: {3}, WAITS: {3}}


def test_looks_are_rare_however_often_one_asks(story: Story) -> None:
    with story.pair.answering():
        for _ in range(5000):
            story.step(after_seconds=1e-5)
    assert story.threads.asked_count <= 2


def test_slow_answers_cost_nothing(story: Story) -> None:
    with story.pair.answering():
        for _ in range(1000):
            story.step(fast=False)
    assert story.threads.asked_count == 0


def test_short_answers_cost_nothing_and_use_nothing_up(story: Story) -> None:
    for _ in range(1000):
        with story.pair.answering():
            story.step(after_seconds=1.0)
    assert story.threads.asked_count == 0
    with story.pair.answering():
        story.steps(3)
        assert set(story.kept()) == {COMPUTES, WAITS}


def test_who_is_not_found_is_not_looked_for_without_end(story: Story) -> None:
    story.threads.end(WAITS)
    with story.pair.answering():
        story.steps(1000)
    assert story.threads.asked_count == 51


def test_who_is_found_at_the_last_look_is_kept(story: Story) -> None:
    story.threads.end(WAITS)
    with story.pair.answering():
        story.steps(50)
        story.threads.begin(WAITS)
        story.steps(2)
        assert set(story.kept()) == {COMPUTES, WAITS}


def test_where_several_compute_nobody_is_looked_for(story: Story) -> None:
    pair = ThreadPair(story.threads, has_one_computing=False)
    with pair.answering():
        for step in range(100):
            pair.look(100.0 + step * STEP_SECONDS, fast=True)
    assert story.threads.asked_count == 0


@pytest.mark.parametrize("failure", [PermissionError(1, "not yours"), ValueError("what is that?")])
@pytest.mark.parametrize("call", ["uses", "use", "processor", f"allow {COMPUTES}", f"allow {WAITS}"])
def test_what_fails_is_given_up_and_both_are_let_go(story: Story, call: str, failure: Exception) -> None:
    story.threads.failures[call] = failure
    with story.pair.answering():
        story.steps(10)
        assert not story.threads.failures, "it was called"
        assert story.kept() == {}
        assert story.threads.asked_count <= 2


@pytest.mark.parametrize("gone", [COMPUTES, WAITS])
def test_when_one_is_gone_the_other_is_let_go(kept: Story, gone: int) -> None:
    kept.threads.end(gone)
    kept.steps(250)
    assert kept.kept() == {}


@pytest.mark.parametrize(
    "had",
    [
        pytest.param({COMPUTES: CpuUse(0.018, 0, 60)}, id="one alone"),
        pytest.param({COMPUTES: CpuUse(0.018, 0, 60), WAITS: CpuUse(0.001, 0, 9)}, id="too rarely awake"),
        pytest.param({COMPUTES: CpuUse(0.018, 0, 60), WAITS: CpuUse(0.006, 0, 60)}, id="both compute"),
        pytest.param(
            {COMPUTES: CpuUse(0.018, 0, 60), SPINS: CpuUse(0.017, 0, 60), WAITS: CpuUse(0.001, 0, 60)},
            id="several compute",
        ),
    ],
)
def test_what_is_not_plain_is_no_pair(had: dict[int, CpuUse]) -> None:
    assert pair_of(dict.fromkeys(had, NOTHING), had) is None


def test_who_has_just_begun_is_not_judged() -> None:
    later = {COMPUTES: CpuUse(0.018, 0, 60), WAITS: CpuUse(0.001, 0, 60)}
    assert pair_of({COMPUTES: NOTHING}, later) is None
    assert pair_of(dict.fromkeys(later, NOTHING), later) == Pair(COMPUTES, WAITS)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="there is one processor only")
async def test_the_library_has_such_a_pair() -> None:
    threads, engine = LinuxThreads(), LlamaCppEngine()
    await engine.load(EngineModel("weft-tiny", str(WEFT_TINY), 1024, thread_count=1), lambda _: None)
    asked = question("Tell me a story.", max_tokens=900)
    asked = replace(asked, sampling=replace(asked.sampling, ignore_eos=True))
    seen: set[frozenset[int]] = set()
    try:
        async with asyncio.timeout(120):  # many answers where much else goes on here
            while not any(len(pair) == 2 for pair in seen):
                async with aclosing(engine.generate(asked)) as events:
                    async for _ in events:
                        seen.add(_alone(threads))
                assert not _alone(threads), "nobody generates"
    finally:
        await engine.close()
    assert {len(pair) for pair in seen} <= {0, 1, 2}, "one, while the other is just being set"


def _alone(threads: LinuxThreads) -> frozenset[int]:
    """Those that may run on one processor only."""
    return frozenset(thread for thread in threads.uses() if len(threads.allowed(thread)) == 1)
