"""In-flight counts out of reports and own picks, which heal by themselves."""

from weft_common.load_view import LoadView
from weft_common.report_flow import Flows


def test_own_picks_count_until_a_report_covers_them() -> None:
    view = LoadView()
    assert [view.pick(0.0), view.pick(0.0), view.pick(0.0)] == [1, 2, 3]
    assert view.in_flight_count(0.0) == 3
    view.report(2, contiguous=2, beyond=[], now=0.1)
    assert view.in_flight_count(0.1) == 2 + 1


def test_picks_beyond_a_hole_are_covered_too() -> None:
    view = LoadView()
    for _ in range(3):
        view.pick(0.0)
    view.report(2, contiguous=0, beyond=[1, 3], now=0.1)
    assert view.in_flight_count(0.1) == 2 + 1


def test_a_request_that_ended_is_gone_with_the_next_report() -> None:
    view = LoadView()
    view.pick(0.0)
    view.report(1, contiguous=1, beyond=[], now=0.1)
    view.report(0, contiguous=1, beyond=[], now=0.2)
    assert view.in_flight_count(0.2) == 0


def test_requests_of_other_gateways_count() -> None:
    view = LoadView()
    view.report(5, contiguous=0, beyond=[], now=0.0)
    assert view.in_flight_count(0.0) == 5


def test_a_pick_that_never_arrives_goes_two_seconds_after_reports_flow_again() -> None:
    view = LoadView()
    view.pick(0.0)
    for tenth in range(1, 40):
        view.report(0, contiguous=0, beyond=[], now=tenth / 10)
        expected = 1 if tenth / 10 - 0.1 < 2 else 0
        assert view.in_flight_count(tenth / 10) == expected, tenth


def test_while_reports_are_missing_own_picks_are_the_only_weight() -> None:
    view = LoadView()
    view.report(9, contiguous=0, beyond=[], now=0.0)
    view.pick(0.5)
    assert view.in_flight_count(1.9) == 10
    assert view.in_flight_count(2.1) == 1


def test_picks_without_any_report_do_not_count_for_ever() -> None:
    view = LoadView()
    view.pick(0.0)
    view.pick(30.0)
    assert view.in_flight_count(59.0) == 2
    assert view.in_flight_count(61.0) == 1


def test_a_pick_that_is_taken_back_weighs_nothing() -> None:
    view = LoadView()
    number = view.pick(now=1.0)
    view.take_back(number)
    assert view.in_flight_count(now=1.0) == 0
    assert view.pick(now=1.0) == number + 1


def test_a_replica_is_a_riddle_once_reports_fail_to_cover_a_pick() -> None:
    view = LoadView()
    assert not view.is_blind(now=100.0)
    view.pick(now=100.0)
    assert not view.is_blind(now=101.9)  # new, and nothing was reported yet
    assert view.is_blind(now=102.1)
    view.report(1, 1, (), now=102.2)
    assert not view.is_blind(now=110.0)
    view.pick(now=110.0)
    assert view.is_blind(now=113.0)


def flowing(node: str = "n") -> tuple[Flows, LoadView]:
    flows = Flows()
    return flows, LoadView(flows.of(node))


def test_when_a_busy_node_falls_silent_together_with_the_bus_its_last_count_holds_for_a_moment_only() -> None:
    flows, view = flowing()
    flows.of("n").report(0.0)
    view.report(4, contiguous=0, beyond=[], now=0.0)
    assert (view.in_flight_count(0.8), view.is_unheard(0.8)) == (4, False)
    assert (view.in_flight_count(0.9), view.is_unheard(0.9)) == (0, True)


def test_a_pick_that_nothing_follows_makes_the_bus_suspect_as_soon() -> None:
    flows, view = flowing()
    flows.of("n").report(0.0)
    view.report(0, contiguous=0, beyond=[], now=0.0)
    view.pick(0.9)
    assert (view.is_blind(1.7), view.is_unheard(1.7)) == (False, False)
    assert (view.is_blind(1.8), view.is_unheard(1.8)) == (True, True)


def test_the_agent_stands_up_for_a_replica_whose_requests_take_long() -> None:
    flows, view = flowing()
    view.report(4, contiguous=0, beyond=[], now=0.0)
    for tenth in range(0, 20, 4):
        flows.of("n").report(tenth / 10)
    assert (view.in_flight_count(1.9), view.is_unheard(1.9)) == (4, False)


def test_an_idle_node_may_be_silent_for_longer() -> None:
    flows, view = flowing()
    flows.of("n").report(0.0)
    view.report(0, contiguous=0, beyond=[], now=0.0)
    assert not view.is_unheard(2.0)
    assert view.is_unheard(2.1)


def test_one_that_hangs_is_mute_also_between_the_reports_of_idle_nodes() -> None:
    flows, view = flowing()
    flows.of("n").report(0.0)
    view.report(4, contiguous=0, beyond=[], now=0.0)
    for second in range(10):
        flows.of("idle").report(float(second))
    assert view.is_mute(9.0)
    assert view.is_mute(9.9)
    assert not view.is_mute(11.1)
