"""The thread of a fast answer rests when nothing is left that had gathered, and only then."""

import threading

import pytest

from weft_worker.engines.llamacpp.rest import Rests


def rested(rests: Rests, waits: list[float]) -> list[float]:
    """What is due after each item, when each comes so long after the thread began to wait; times in seconds."""
    now, due = 100.0, []
    rests.leave(now)
    for waited in waits:
        now += waited
        due.append(round(rests.due(now), 6))
        now += due[-1]
        rests.leave(now)
    return due


@pytest.fixture
def rests() -> Rests:
    made = Rests(100.0)
    made.begin()
    return made


def test_what_is_waited_for_twice_in_a_row_leaves_time_to_rest(rests: Rests) -> None:
    assert rested(rests, [0.001, 0.001, 0.001, 0.001]) == [0, 0.008, 0, 0.008]


def test_nobody_rests_before_the_first_token_has_gone_out() -> None:
    assert rested(Rests(100.0), [0.001] * 4) == [0, 0, 0, 0]


def test_what_has_gathered_is_carried_before_the_next_rest(rests: Rests) -> None:
    at_once = 1e-6
    assert rested(rests, [0.001, at_once, 0.001, at_once, at_once]) == [0, 0, 0, 0, 0]


def test_a_rest_lasts_a_hundredth_of_a_second_at_most(rests: Rests) -> None:
    assert rested(rests, [0.004, 0.004]) == [0, 0.01]


def test_nobody_rests_beyond_the_last_token_that_may_come() -> None:
    made = Rests(100.0, most=7)
    made.begin()
    assert rested(made, [0.001] * 7) == [0, 0.004, 0, 0.002, 0, 0, 0]


def test_slow_answers_never_rest(rests: Rests) -> None:
    assert rested(rests, [0.02] * 6) == [0] * 6


def test_the_end_of_the_answer_wakes_who_rests(rests: Rests) -> None:
    thread = threading.Thread(target=rests.sleep, args=(3600.0,))
    thread.start()
    rests.end()
    rests.end()
    thread.join(20)
    assert not thread.is_alive()
    rests.sleep(3600.0)  # returns at once
