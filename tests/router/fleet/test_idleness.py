"""Idle replicas: who goes when, on whose word, and who never does."""

from collections import Counter
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.router.builders import a_fleet, a_model, a_node, a_replica
from tests.router.worlds import NOW, fleets
from weft_router.fleet.entities import Model, Node, Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.idleness import IdleRules, idle_steps, said_of, stay_of
from weft_router.fleet.memory import FullDevice
from weft_router.fleet.policy import Policy
from weft_router.fleet.scaling import Shrink
from weft_router.fleet.unstored import Use

MINUTE = IdleRules(keep_alive_seconds=60)


def idle(*things: Node | Replica | Model | Policy, wish: float | None = None, busy: int = 0) -> Fleet:
    """A fleet whose replicas have been ready since 0, and whose nodes have just reported."""
    fleet = a_fleet(*(things or (a_node(), a_model(), a_replica())), now=0.0, heard=NOW)
    for node_id in fleet.nodes:
        there = [r.id for r in fleet.replicas_on(node_id)]
        fleet.report(node_id, dict.fromkeys(there, busy), NOW)
        fleet.note_uses(node_id, {i: Use(1, wish) for i in there}, NOW)
    return fleet


def full(use: float, device_id: str = "g0") -> tuple[FullDevice, ...]:
    return (FullDevice(device_id, use, 1),)


def gone(fleet: Fleet, rules: IdleRules = MINUTE, now: float = NOW, **fields: Any) -> list[str]:
    return [s.replica.id for s in idle_steps(fleet.snapshot(), now=now, rules=rules, **fields)]


def test_by_default_nothing_goes_however_long_it_is_idle() -> None:
    assert gone(idle(), IdleRules(), now=NOW) == []


def test_what_has_been_idle_for_the_fleets_keep_alive_goes() -> None:
    (step,) = idle_steps(idle().snapshot(), now=NOW, rules=MINUTE)
    assert step == Shrink(a_replica(), "idle for 1000 s: 60 s are allowed by default")


@pytest.mark.parametrize(
    ("fields", "wish", "goes"),
    [
        ({}, None, True),
        ({"keep_alive_seconds": 2000.0}, None, False),
        ({"keep_alive_seconds": inf}, None, False),
        ({"keep_alive_seconds": 2000.0}, 10.0, True),
        ({"keep_alive_seconds": 10.0}, 2000.0, False),
        ({"keep_alive_seconds": 0.0}, inf, False),
        ({"min_replicas": 1}, 0.0, False),
        ({"spread_all": True}, 0.0, False),
        ({"max_replicas": 1}, None, True),
    ],
)
def test_a_request_goes_before_the_policy_and_the_policy_before_the_fleet(
    fields: dict[str, Any], wish: float | None, goes: bool
) -> None:
    fleet = idle(a_node(), a_model(), a_replica(), Policy("m", **fields), wish=wish)
    assert gone(fleet) == (["r-1"] if goes else [])


def test_what_took_long_to_load_stays_longer_unless_somebody_said_how_long() -> None:
    slow = a_replica(load_seconds=120.0)
    assert gone(idle(a_node(), a_model(), slow)) == []
    (step,) = idle_steps(idle(a_node(), a_model(), slow).snapshot(), now=NOW + 300, rules=_deaf(MINUTE))
    assert step.reason == "idle for 1300 s: 10 times its load of 120.0 s are allowed by default"
    assert gone(idle(a_node(), a_model(), slow, wish=60)) == ["r-1"]
    said = Policy("m", keep_alive_seconds=60)
    assert gone(idle(a_node(), a_model(), slow, said)) == ["r-1"]


def test_a_node_may_allow_less_than_anybody_wishes() -> None:
    node = a_node(idle_limit_seconds=900.0)
    assert gone(idle(node, a_model(), a_replica(), wish=inf), IdleRules()) == ["r-1"]
    assert gone(idle(node, a_model(pinned=True), a_replica()), IdleRules()) == []
    assert gone(idle(node, a_model(), a_replica(), Policy("m", min_replicas=1)), IdleRules()) == []


def test_what_is_busy_fresh_pinned_outdated_or_not_heard_of_stays() -> None:
    assert gone(idle(busy=1)) == []
    assert gone(idle(a_node(), a_model(pinned=True), a_replica())) == []
    assert gone(idle(a_node(), a_model(), a_replica(revision="rev0"))) == []
    assert gone(idle(a_node(), a_model(), a_replica(state=ReplicaState.LOADING))) == []
    assert gone(idle(wish=0), now=4.0) == []
    assert gone(idle(), now=NOW + 6) == []


def test_a_request_too_short_to_be_seen_counts_as_use() -> None:
    fleet = idle()
    fleet.note_uses("n-one", {"r-1": Use(2)}, NOW)
    assert gone(fleet) == []
    fleet.report("n-one", {}, NOW + 61)
    fleet.note_uses("n-one", {"r-1": Use(2)}, NOW + 61)
    assert gone(fleet, now=NOW + 61) == ["r-1"]


def test_one_replica_of_a_model_goes_at_a_time_and_the_minimum_stays() -> None:
    fleet = idle(
        a_node("one"),
        a_node("two"),
        a_node("three"),
        a_model(),
        a_replica(),
        a_replica("r-2", node_id="n-two"),
        a_replica("r-3", node_id="n-three"),
        Policy("m", min_replicas=1),
    )
    assert gone(fleet) == ["r-1"]


def test_a_window_holds_its_replicas_for_as_long_as_it_is_open() -> None:
    fleet = idle(a_node(), a_model(), a_replica(), Policy("m", keep_alive_seconds=0))
    fleet.hold({"m": 1})
    assert gone(fleet) == []
    assert fleet.policies["m"].min_replicas == 0
    fleet.hold({})
    assert gone(fleet) == ["r-1"]


def test_what_is_expected_soon_stays_unless_a_request_said_that_it_may_go() -> None:
    assert gone(idle(), expected={"m": "it is likely"}) == []
    assert gone(idle(wish=1), expected={"m": "it is likely"}) == ["r-1"]


def test_where_too_much_memory_is_in_use_what_is_used_least_goes_one_after_the_other() -> None:
    fleet = idle(a_node(), a_model(), a_model("n"), a_replica(), a_replica("r-2", model="n"))
    fleet.note_uses("n-one", {"r-1": Use(2)}, NOW, full=full(0.97))
    (step,) = idle_steps(fleet.snapshot(), now=NOW, rules=IdleRules())
    assert (step.replica.id, step.reason) == ("r-2", "97% of the memory of one are in use")
    leaving = replace(step.replica, state=ReplicaState.UNLOADING)
    assert gone(idle(a_node(), a_model(), a_model("n"), a_replica(), leaving), IdleRules()) == []
    fleet.note_uses("n-one", {}, NOW)
    assert gone(fleet, IdleRules()) == []


def test_a_node_that_may_run_less_than_it_does_gets_rid_of_the_rest() -> None:
    things = (a_model(), a_model("n"), a_replica(), a_replica("r-2", model="n"))
    assert gone(idle(a_node(max_replicas=2), *things), IdleRules()) == []
    assert len(gone(idle(a_node(max_replicas=1), *things), IdleRules())) == 1


@given(fleets(), st.floats(0, 1000), st.booleans(), st.data())
def test_nobody_goes_who_is_needed_busy_or_pinned(
    fleet: Fleet, keep_alive: float, short: bool, data: st.DataObject
) -> None:
    for node_id in fleet.nodes:
        uses = {
            r.id: Use(1, data.draw(st.sampled_from((None, 0.0, inf)))) for r in fleet.replicas_on(node_id)
        }
        fleet.note_uses(node_id, uses, NOW, full=full(0.99) if short else ())
    fleet.hold({"m0": data.draw(st.integers(0, 3))})
    snapshot = fleet.snapshot()
    rules = IdleRules(keep_alive_seconds=keep_alive)
    steps = list(idle_steps(snapshot, now=NOW, rules=rules))
    assert max(Counter(s.replica.model for s in steps).values(), default=0) <= 1
    for step in steps:
        replica = step.replica
        (view,) = (v for n in snapshot.views for v in n.replicas if v.replica.id == replica.id)
        policy = snapshot.policy_of(replica.model)
        assert replica.state is ReplicaState.READY
        assert snapshot.counts(replica)
        assert not view.in_flight_count
        assert not snapshot.models[replica.model].pinned
        assert not policy.spread_all
        assert NOW >= view.ready_since + rules.residency_seconds
        assert len(snapshot.serving(replica.model)) - 1 >= policy.min_replicas
        node = snapshot.by_id[replica.node_id].node
        assert (
            short or node.max_replicas or NOW - view.idle_since >= stay_of(view, node, policy, rules).seconds
        )


def test_it_can_be_said_what_keeps_a_model() -> None:
    fleet = idle(a_node(), a_model(pinned=True), a_replica(), Policy("m", min_replicas=1))
    assert list(said_of("m", fleet.snapshot(), IdleRules())) == [
        "at least 1 replicas are kept",
        "it is pinned: nothing unloads it but an admin",
        "m#0 on one may be idle for ever: for ever are allowed by default",
    ]


def _deaf(rules: IdleRules) -> IdleRules:
    return replace(rules, report_seconds=inf)
