"""How long a backend process goes on without its agent."""

from weft_worker.backend.lease_clock import LeaseClock, Standing

START = 100.0
CLOCK = LeaseClock(lease_seconds=30, orphan_seconds=120, lost=START)


def _standings(clock: LeaseClock, *after: float) -> list[Standing]:
    return [clock.standing(START + seconds) for seconds in after]


def test_a_process_that_nobody_answers_takes_no_work_and_then_ends() -> None:
    assert _standings(CLOCK, 0, 29.9, 30, 119.9, 120) == [
        Standing.HELD,
        Standing.HELD,
        Standing.EXPIRED,
        Standing.EXPIRED,
        Standing.ORPHANED,
    ]


def test_an_accepted_process_is_held_for_ever() -> None:
    assert _standings(CLOCK.accept(), 1e9) == [Standing.HELD]


def test_the_time_runs_from_the_end_of_the_connection() -> None:
    clock = CLOCK.accept().disconnect(START + 50)
    assert _standings(clock, 79, 81, 171) == [Standing.HELD, Standing.EXPIRED, Standing.ORPHANED]


def test_connections_that_are_refused_save_nobody() -> None:
    clock = CLOCK
    for second in range(40):
        clock = clock.disconnect(START + second)
    assert _standings(clock, 40) == [Standing.EXPIRED]


def test_an_orphan_that_comes_before_the_end_of_the_lease_ends() -> None:
    clock = LeaseClock(lease_seconds=30, orphan_seconds=5, lost=START)
    assert _standings(clock, 4, 6) == [Standing.HELD, Standing.ORPHANED]
