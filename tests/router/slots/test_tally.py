"""Counts that only rise become steps, whatever reports were lost."""

from weft_router.slots.core.tally import Progress, Tally, Told


def test_the_past_of_a_replica_that_was_not_known_counts_for_nothing() -> None:
    tally = Tally()
    assert tally.take("r", [Told("a", generated=900, finished=9, in_flight=2)]) == [Progress("a")]
    assert tally.in_flight("a") == (2, 0)


def test_steps_add_up_over_reports_that_were_lost() -> None:
    tally = Tally()
    tally.take("r", [])
    tally.take("r", [Told("a", generated=10, prompt=80, finished=1, slot_seconds=1.0)])
    (step,) = tally.take("r", [Told("a", generated=40, prompt=160, finished=4, slot_seconds=7.0)])
    assert step == Progress("a", work=40.0, finished=3, slot_seconds=6.0)


def test_what_still_runs_is_told_apart_from_what_has_ended() -> None:
    tally = Tally()
    tally.take("r", [])
    (step,) = tally.take("r", [Told("a", generated=25, finished=1, in_flight=1, running=5)])
    assert step.work == 20
    assert tally.in_flight("a") == (1, 5)
    (step,) = tally.take("r", [Told("a", generated=30, finished=2)])
    assert step.work == 10
    assert tally.in_flight("a") == (0, 0)


def test_what_is_in_flight_adds_up_over_replicas() -> None:
    tally = Tally()
    for replica in ("r", "s"):
        tally.take(replica, [Told("a", in_flight=2, running=3)])
    assert tally.in_flight("a") == (4, 6)
    assert tally.forget("r") == ["a"]
    assert tally.in_flight("a") == (2, 3)


def test_whoever_is_told_of_no_more_has_nothing_in_flight() -> None:
    tally = Tally()
    tally.take("r", [Told("a", generated=4, in_flight=1, running=4)])
    assert tally.take("r", []) == [Progress("a")]
    assert tally.in_flight("a") == (0, 0)


def test_a_replica_that_forgot_a_principal_begins_anew() -> None:
    tally = Tally()
    tally.take("r", [])
    tally.take("r", [Told("a", generated=100, finished=10)])
    assert tally.take("r", [Told("a", generated=5, finished=1)]) == [Progress("a", work=5, finished=1)]
