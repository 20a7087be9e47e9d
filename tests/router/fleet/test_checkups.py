"""Whom to check when, and when a replica counts as gone or hung."""

from dataclasses import replace
from typing import Any

import pytest

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from weft_router.fleet.checkups import CheckupRules, Checkups, Finding, Verdict
from weft_router.fleet.entities import Changes, NodeState, Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy

RULES = CheckupRules(interval_seconds=30, retry_seconds=5, miss_count=3, most_at_once=64)
HUNG = "its process is stopped"


def checked(*things: Any, turns: int = 5) -> list[str]:
    """Who is checked within some turns, none of them answered yet."""
    fleet, checkups = a_fleet(a_model(), *things), Checkups(RULES)
    return [r.id for now in range(turns) for r in checkups.due(fleet, now)]


def test_replicas_that_serve_are_checked_once_at_a_time() -> None:
    assert checked(a_node(), a_replica()) == ["r-1"]


@pytest.mark.parametrize(
    "things",
    [
        (a_node(), a_replica(state=ReplicaState.LOADING)),
        (a_node(), a_replica(state=ReplicaState.UNLOADING)),
        (a_node(), a_replica(revision="rev0")),
        (a_node(), a_replica(model="former")),
        (a_node(), a_replica(), Policy("m", {"zone": "eu"})),
        (a_node(state=NodeState.DRAINING), a_replica()),
        (a_node(state=NodeState.UNHEALTHY), a_replica()),
        (a_node(state=NodeState.OFFLINE), a_replica()),
        (a_replica(),),
    ],
)
def test_whoever_serves_nobody_is_not_asked(things: tuple[Any, ...]) -> None:
    assert checked(*things) == []


def crowd(count: int) -> Fleet:
    nodes = [a_node(f"{n}") for n in range(count)]
    return a_fleet(a_model(), *nodes, *(a_replica(f"r-{n}", node_id=f"n-{n}") for n in range(count)))


def test_a_large_fleet_is_checked_a_few_at_a_time_and_whole_within_the_interval() -> None:
    fleet, checkups = crowd(600), Checkups(RULES)
    turns = []
    for now in range(30):
        due = checkups.due(fleet, now)
        turns.append(len(due))
        for replica in due:
            assert checkups.found(replica, Finding.SERVES, fleet, now) is Verdict.KEEP
    assert (turns, max(turns)) == ([20] * 30, 20)


def test_so_many_checks_are_under_way_and_no_more() -> None:
    fleet, checkups = crowd(600), Checkups(replace(RULES, most_at_once=50))
    assert sum(len(checkups.due(fleet, now)) for now in range(30)) == 50


class World:
    """One replica that answers as the test says, asked whenever it is due."""

    def __init__(self, *, problem: str = "") -> None:
        self.fleet = a_fleet(a_node(), a_model(), a_replica(problem=problem))
        self.checkups, self.now = Checkups(RULES), 0.0

    def verdicts(self, *findings: Finding | None) -> list[Verdict]:
        """What each further check comes to, the next one as soon as it is due."""
        return [self._verdict(finding) for finding in findings]

    def _verdict(self, finding: Finding | None) -> Verdict:
        while not (due := self.checkups.due(self.fleet, self.now)):
            self.now += 1
            assert self.now < 1000
        return self.checkups.found(due[0], finding, self.fleet, self.now)

    def row(self, replica: Replica) -> None:
        self.fleet.apply(Changes(sequence=self.fleet.sequence + 1, replicas=(replica,)), self.now)

    def heard(self) -> None:
        self.fleet.hear("n-one", self.now)

    def reports(self, in_flight_count: int, **stalled: float) -> None:
        told = {k.replace("_", "-"): v for k, v in stalled.items()}
        self.fleet.report("n-one", {"r-1": in_flight_count}, self.now, stalled=told)


UNREACHED, UNABLE = Finding.UNREACHED, Finding.UNABLE
K, L, H = Verdict.KEEP, Verdict.LOST, Verdict.HUNG
AWAY, BACK = Verdict.OUT_OF_REACH, Verdict.BACK
SERVES, BUSY, DEAD = Finding.SERVES, Finding.BUSY, Finding.DEAD


def test_the_third_refusal_in_a_row_means_that_it_is_gone() -> None:
    world = World()
    assert world.verdicts(DEAD, DEAD, DEAD) == [K, K, L]
    assert world.now == 10  # it is asked again every 5 s


@pytest.mark.parametrize("between", [SERVES, BUSY])
def test_any_sign_of_life_between_two_refusals_begins_anew(between: Finding) -> None:
    assert World().verdicts(DEAD, DEAD, between, DEAD, DEAD, DEAD) == [K, K, K, K, K, L]


def test_a_busy_one_that_answers_nothing_is_never_taken_away() -> None:
    assert World().verdicts(*[BUSY] * 100) == [K] * 100


def test_one_that_its_worker_says_is_at_work_is_not_lost_whoever_cannot_reach_it() -> None:
    world = World()
    world.verdicts(DEAD, DEAD)
    world.now += 5
    world.reports(1)
    assert world.verdicts(DEAD) == [K]
    world.now += 10  # and then its worker says nothing more
    assert world.verdicts(DEAD) == [L]


def test_an_idle_one_that_its_worker_says_runs_is_not_lost_to_a_router_that_cannot_reach_it() -> None:
    world = World()
    for _ in range(6):
        world.reports(0)
        assert world.verdicts(DEAD)[0] in (K, AWAY)
        world.now += 5
    world.fleet.report("n-one", {}, world.now)  # its worker goes on, without a word of it
    assert world.verdicts(DEAD) == [L]


def looks(world: World, *findings: Finding, in_flight_count: int = 0) -> list[Verdict]:
    """What checks come to that are 5 s apart, right after a report each."""
    found = []
    for finding in findings:
        world.reports(in_flight_count)
        found += world.verdicts(finding)
        world.now += 5
    return found


@pytest.mark.parametrize("finding", [UNREACHED, DEAD])
def test_what_is_idle_and_out_of_reach_is_passed_over_and_not_killed(finding: Finding) -> None:
    assert looks(World(), finding, finding, SERVES, finding, finding, finding) == [K, K, K, K, K, AWAY]
    assert looks(World(), *[finding] * 9, in_flight_count=1) == [K] * 9
    assert looks(World(), *[BUSY] * 9) == [K] * 9


def test_what_is_out_of_reach_is_asked_until_it_answers() -> None:
    world = World()
    looks(world, UNREACHED, UNREACHED, UNREACHED)
    world.row(a_replica(unreachable="no way"))
    assert looks(world, UNREACHED, BUSY, SERVES) == [K, K, BACK]
    world = World()
    world.row(a_replica(unreachable="no way"))  # as another router found it
    assert looks(world, SERVES) == [BACK]


def test_without_any_report_nobody_can_tell_whether_requests_get_through() -> None:
    world = World()
    for _ in range(9):
        world.heard()
        assert world.verdicts(UNREACHED) == [K]


def test_without_any_report_a_heartbeat_stands_up_for_what_its_worker_lists() -> None:
    world = World()
    world.verdicts(DEAD, DEAD)
    world.heard()
    assert world.verdicts(DEAD, DEAD, DEAD) == [K, K, K]
    assert world.verdicts(DEAD) == [L]  # 20 s later, where a heartbeat comes every 10 s


@pytest.mark.parametrize("finding", [UNREACHED, UNABLE])
def test_only_who_refuses_is_dead(finding: Finding) -> None:
    assert World().verdicts(*[finding] * 10) == [K] * 10


def doubts_itself(found: dict[str, Finding], *, count: int = 6) -> bool:
    """Whether it does that finds this at replicas of nodes of the same name, all of whose workers say all is well."""
    fleet, checkups = crowd(count), Checkups(RULES)
    for n in range(count):
        fleet.report(f"n-{n}", {f"r-{n}": 0}, 0.0)
    for replica in [r for now in range(30) for r in checkups.due(fleet, 0.1 * now)]:
        assert checkups.found(replica, found.get(replica.id, SERVES), fleet, 1.0) is K
    return checkups.doubts_itself


def test_who_reaches_hardly_any_node_doubts_itself() -> None:
    assert doubts_itself({"r-0": DEAD, "r-1": UNREACHED, "r-2": DEAD})
    assert not doubts_itself({"r-0": DEAD, "r-1": UNREACHED})
    assert not doubts_itself({"r-0": BUSY, "r-1": BUSY, "r-2": BUSY})


def test_one_node_out_of_reach_is_that_nodes_trouble() -> None:
    assert not doubts_itself({"r-0": DEAD}, count=1)
    assert not doubts_itself({"r-0": DEAD}, count=2)


def test_nobody_doubts_itself_over_what_really_died() -> None:
    fleet, checkups = crowd(6), Checkups(RULES)
    for replica in [r for now in range(30) for r in checkups.due(fleet, 0.1 * now)]:
        checkups.found(replica, DEAD, fleet, 1.0)
    assert not checkups.doubts_itself


def test_who_has_not_the_means_to_ask_three_times_in_a_row_doubts_itself() -> None:
    world = World()
    world.verdicts(UNABLE, UNABLE, SERVES, UNABLE, UNABLE)
    assert not world.checkups.doubts_itself
    world.verdicts(UNABLE)
    assert world.checkups.doubts_itself
    world.checkups.forget()
    assert not world.checkups.doubts_itself


def test_a_check_that_told_nothing_counts_for_nothing() -> None:
    assert World().verdicts(DEAD, DEAD, None, DEAD) == [K, K, K, L]


def test_what_its_worker_calls_hung_is_confirmed_by_checks_that_time_out() -> None:
    assert World(problem=HUNG).verdicts(BUSY, BUSY, BUSY) == [K, K, H]


def test_what_answers_is_not_hung_whatever_its_worker_says() -> None:
    assert World(problem=HUNG).verdicts(BUSY, BUSY, SERVES, BUSY, BUSY, BUSY) == [K, K, K, K, K, H]


def test_a_stuck_engine_has_a_process_that_answers() -> None:
    world = World(problem="its engine works on requests and has given nothing for 300 s")
    world.reports(1, r_1=300)
    assert world.verdicts(SERVES, SERVES, SERVES) == [K, K, H]


@pytest.mark.parametrize("stalled_seconds", [0.03, 60])
def test_a_busy_one_that_answers_is_not_hung_by_what_its_worker_said_earlier(stalled_seconds: float) -> None:
    world = World(problem="its engine works on requests and has given nothing for 300 s")
    for _ in range(10):
        world.reports(4, r_1=stalled_seconds)
        assert world.verdicts(SERVES) == [K]
        world.now += 1


def test_a_stall_that_was_told_long_ago_confirms_nothing() -> None:
    world = World(problem="its engine works on requests and has given nothing for 300 s")
    world.reports(1, r_1=300)
    world.now += 10
    assert world.verdicts(SERVES, SERVES, SERVES) == [K, K, K]


def test_one_that_has_come_back_to_life_stays() -> None:
    world = World(problem=HUNG)
    assert world.verdicts(BUSY, BUSY) == [K, K]
    world.row(a_replica())
    assert world.verdicts(BUSY, BUSY, BUSY) == [K, K, K]


def test_what_hangs_where_its_selector_no_longer_leads_is_taken_away_as_well() -> None:
    world = World(problem=HUNG)
    world.row(a_replica(revision="rev0", problem=HUNG))
    assert world.verdicts(BUSY, BUSY, BUSY) == [K, K, H]


def test_what_is_being_unloaded_is_left_to_its_worker() -> None:
    world = World(problem=HUNG)
    world.row(a_replica(state=ReplicaState.UNLOADING, problem=HUNG))
    assert world.checkups.due(world.fleet, 1) == []


def test_a_router_that_leads_anew_counts_anew() -> None:
    world = World()
    world.verdicts(DEAD, DEAD)
    world.checkups.forget()
    assert world.verdicts(DEAD, DEAD, DEAD) == [K, K, L]
