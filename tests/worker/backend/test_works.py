"""Work by principal: counts that only rise, for those that were here lately."""

from contextlib import ExitStack

from weft_common.clock import ManualClock
from weft_common.ticket import Ticket
from weft_worker.backend.lease import Work
from weft_worker.backend.visit import Visit
from weft_worker.backend.works import MAX_REPORTED, Works
from weft_worker.engines.base import Delta, Finished, FinishReason, Usage


def a_visit(principal: str = "alice") -> Visit:
    return Visit("Chat", "m", 0.0, ticket=Ticket("req", ("m#0@r/1",), principal, 0))


def test_a_call_counts_while_it_is_here_and_more_once_it_has_ended() -> None:
    clock = ManualClock()
    works, visit = Works(clock), a_visit()
    with works.counted(visit):
        assert works.snapshot() == (Work(principal="alice", here=1),)
        visit.admitted = clock.monotonic()
        clock.advance(2)
        visit.saw(Delta("text", 3), clock.monotonic())
        assert works.snapshot() == (Work(principal="alice", generated=3, here=1, running=3),)
        visit.saw(Finished(FinishReason.STOP, Usage(10, 4, 6)), clock.monotonic())
    ended = Work(principal="alice", generated=4, prompt=4, finished=1, slot_ms=2000)
    assert works.snapshot() == (ended,)


def test_a_call_that_never_had_a_slot_ends_without_work() -> None:
    works = Works(ManualClock())
    with works.counted(a_visit()):
        pass
    assert works.snapshot() == (Work(principal="alice", finished=1),)


def test_who_has_not_asked_for_two_minutes_is_not_told_of_but_goes_on_where_he_was() -> None:
    clock = ManualClock()
    works = Works(clock)
    with works.counted(a_visit()):
        pass
    clock.advance(121)
    assert works.snapshot() == ()
    with works.counted(a_visit()):
        assert works.snapshot() == (Work(principal="alice", finished=1, here=1),)


def test_a_long_call_is_told_of_however_long_it_takes() -> None:
    clock = ManualClock()
    works = Works(clock)
    with works.counted(a_visit()):
        clock.advance(1000)
        assert [w.here for w in works.snapshot()] == [1]


def test_whoever_is_here_is_told_of_however_many_others_asked_since() -> None:
    works = Works(ManualClock())
    with ExitStack() as stack:
        for number in range(MAX_REPORTED):
            stack.enter_context(works.counted(a_visit(f"long{number}")))
        for number in range(100):
            with works.counted(a_visit(f"short{number}")):
                pass
        assert {w.principal for w in works.snapshot()} == {f"long{n}" for n in range(MAX_REPORTED)}
    assert len(works.snapshot()) == MAX_REPORTED


def test_the_latest_are_told_of_and_memory_is_bounded() -> None:
    works = Works(ManualClock())
    for number in range(3000):
        with works.counted(a_visit(f"p{number}")):
            pass
    told = [work.principal for work in works.snapshot()]
    assert told == [f"p{number}" for number in range(2999, 2999 - MAX_REPORTED, -1)]
    with ExitStack() as stack:
        for number in range(3000):
            stack.enter_context(works.counted(a_visit(f"q{number}")))
        assert len(works.snapshot()) == MAX_REPORTED
