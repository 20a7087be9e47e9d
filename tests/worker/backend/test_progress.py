"""How long an engine has given nothing: to the one that is served worst, and to anybody."""

from weft_common.clock import ManualClock
from weft_worker.backend.progress import EngineProgress


def told(progress: EngineProgress) -> tuple[float | None, float | None]:
    return progress.stalled_seconds, progress.stuck_seconds


def test_without_work_nothing_stalls() -> None:
    progress = EngineProgress(ManualClock())
    assert told(progress) == (None, None)
    with progress.work():
        pass
    assert told(progress) == (None, None)


def test_the_worst_served_is_stalled_and_all_together_are_stuck() -> None:
    clock = ManualClock()
    progress = EngineProgress(clock)
    with progress.work() as first:
        clock.advance(5)
        assert told(progress) == (5, 5)
        with progress.work() as second:
            clock.advance(2)
            second()
            assert told(progress) == (7, 0)
            clock.advance(1)
            first()
            assert told(progress) == (1, 0)
        clock.advance(3)
        assert told(progress) == (3, 3)
