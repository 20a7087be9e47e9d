"""Who was not heard from lately."""

from tests.router.builders import a_fleet, a_node
from weft_common.clock import ManualClock
from weft_router.silence import Silence


def test_a_node_is_silent_when_it_was_not_heard_for_so_long() -> None:
    fleet, clock = a_fleet(a_node("one"), a_node("two")), ManualClock(100)
    silence = Silence(fleet=fleet, clock=clock, seconds=30)
    assert silence.nodes() == frozenset()  # who has just started knows nothing
    clock.advance(20)
    fleet.hear("n-one", clock.now)
    clock.advance(11)
    assert silence.nodes() == {"n-two"}
    fleet.hear("n-two", clock.now)
    assert silence.nodes() == frozenset()
