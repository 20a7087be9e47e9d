"""Eviction: who goes, who never goes, and what is waited for."""

from dataclasses import replace

import pytest

from tests.router.builders import GIB, a_device, a_fleet, a_held_replica, a_model, a_node
from tests.router.placement.evicting import NOW, RULES, a_world, decided, full_node, victims, wish
from weft_router.fleet.entities import Model, ReplicaState, Share
from weft_router.fleet.policy import Policy
from weft_router.placement.decision import Evict, Placed, Refuse, Wait


def test_nothing_is_evicted_while_there_is_room() -> None:
    fleet = a_world(full_node(), a_held_replica("r-1", "a", 8), a_node("two", free_gib=8))
    assert isinstance(decided(wish(), fleet), Placed)


def test_the_least_recently_used_goes_first() -> None:
    pair = (a_held_replica("r-1", "a", 8), a_held_replica("r-2", "b", 8))
    assert victims(wish(), a_world(full_node(), *pair, used={"r-1": 500, "r-2": 400})) == {"r-2"}
    assert victims(wish(), a_world(full_node(), *pair, used={"r-1": 400, "r-2": 500})) == {"r-1"}


def test_the_decision_says_what_to_set_aside_and_where() -> None:
    decision = decided(wish(7), a_world(full_node(), a_held_replica("r-1", "a", 8)))
    assert isinstance(decision, Evict)
    assert (decision.node.name, decision.replica_index) == ("one", 0)
    assert decision.shares == (Share("cpu", 7 * GIB),)
    assert not decision.drains
    assert not decision.forced


def test_only_what_makes_it_fit_goes_and_no_more_than_needed() -> None:
    things = (
        a_held_replica("r-1", "a", 2),
        a_held_replica("r-2", "b", 3),
        a_held_replica("r-3", "c", 5),
        a_held_replica("r-4", "d", 6),
    )
    used = {"r-1": 100.0, "r-2": 110.0, "r-3": 120.0, "r-4": 990.0}
    assert victims(wish(8), a_world(full_node(), *things, used=used)) == {"r-2", "r-3"}
    assert victims(wish(2), a_world(full_node(), *things, used=used)) == {"r-1"}
    assert victims(wish(14), a_world(full_node(), *things, used=used)) == {"r-2", "r-3", "r-4"}


def test_an_expensive_load_is_spared_for_a_cheap_one_of_about_the_same_rest() -> None:
    dear = a_held_replica("r-1", "a", 8, load_seconds=120)
    cheap = a_held_replica("r-2", "b", 8, load_seconds=3)
    assert victims(wish(), a_world(full_node(), dear, cheap, used={"r-1": 400, "r-2": 500})) == {"r-2"}
    assert victims(wish(), a_world(full_node(), dear, cheap, used={"r-1": 2, "r-2": 990})) == {"r-1"}


def test_the_cheapest_set_of_all_nodes_goes() -> None:
    things = (
        *(full_node("a"), a_held_replica("r-1", "a", 16, node_id="n-a")),
        *(full_node("b"), a_held_replica("r-2", "b", 16, node_id="n-b")),
        *(full_node("c"), a_held_replica("r-3", "c", 16, node_id="n-c")),
    )
    assert victims(wish(), a_world(*things, used={"r-1": 300, "r-2": 200, "r-3": 400})) == {"r-2"}


def test_nobody_goes_from_a_node_that_the_model_may_not_use() -> None:
    things = (
        *(full_node("a", labels={"zone": "us"}), a_held_replica("r-1", "a", 16, node_id="n-a")),
        *(full_node("b", labels={"zone": "eu"}), a_held_replica("r-2", "b", 16, node_id="n-b")),
    )
    fleet = a_world(*things, used={"r-1": 1, "r-2": 900})
    assert victims(wish(policy=Policy("new", {"zone": "eu"})), fleet) == {"r-2"}


def test_nobody_goes_where_it_would_not_help() -> None:
    small = (a_node("small", devices=(a_device(0, 4),)), a_held_replica("r-1", "a", 4, node_id="n-small"))
    large = (full_node("large"), a_held_replica("r-2", "b", 16, node_id="n-large"))
    assert victims(wish(), a_world(*small, *large, used={"r-1": 1, "r-2": 900})) == {"r-2"}


def test_a_busy_replica_stays_and_is_waited_for() -> None:
    fleet = a_world(full_node(), a_held_replica("r-1", "a", 8), busy={"r-1": 1})
    decision = decided(wish(), fleet)
    assert isinstance(decision, Wait)
    assert (decision.reason, decision.until) == ("everything that could go is busy", None)


def test_what_still_loads_is_waited_for_since_it_may_go_once_it_is_ready() -> None:
    """Found by the simulation: everybody was refused while a node loaded something else."""
    loading = a_held_replica("r-1", "a", 16, state=ReplicaState.LOADING, memory_bytes=0)
    decision = decided(wish(deadline=NOW + 60), a_world(a_node(free_gib=16), loading))
    assert isinstance(decision, Wait), decision
    assert decision.reason == "what could go is loading or not known well yet"


def test_what_loads_for_a_minimum_is_not_waited_for() -> None:
    loading = a_held_replica("r-1", "a", 16, state=ReplicaState.LOADING, memory_bytes=0)
    policy = Policy("a", min_replicas=1)
    decision = decided(wish(deadline=NOW + 60), a_world(a_node(free_gib=16), loading, policy))
    assert isinstance(decision, Refuse), decision
    assert decision.reason == "nothing may be evicted: 1 held by its policy"


def test_a_pinned_model_stays_however_long_it_rests() -> None:
    fleet = a_world(full_node(), a_model("a", pinned=True), a_held_replica("r-1", "a", 16))
    decision = decided(wish(), fleet)
    assert isinstance(decision, Refuse)
    assert decision.reason == "nothing may be evicted: 1 pinned"


def test_a_model_never_goes_below_its_minimum() -> None:
    two = [
        *(full_node("a"), a_held_replica("r-1", "a", 16, node_id="n-a")),
        *(full_node("b"), a_held_replica("r-2", "a", 16, node_id="n-b")),
    ]
    assert isinstance(decided(wish(), a_world(*two, Policy("a", min_replicas=2))), Refuse)
    used = {"r-1": 5.0, "r-2": 9.0}
    assert victims(wish(), a_world(*two, Policy("a", min_replicas=1), used=used)) == {"r-1"}


def test_a_set_of_victims_does_not_go_below_a_minimum_either() -> None:
    node = full_node(max_replicas_per_model=3)
    three = [a_held_replica(f"r-{i}", "a", 5, index=i) for i in range(3)]
    assert isinstance(decided(wish(9), a_world(node, *three, Policy("a", min_replicas=2))), Refuse)
    assert len(victims(wish(9), a_world(node, *three, Policy("a", min_replicas=1)))) == 2


def test_a_model_that_is_to_run_everywhere_stays() -> None:
    fleet = a_world(full_node(), a_held_replica("r-1", "a", 16), Policy("a", spread_all=True))
    assert isinstance(decided(wish(), fleet), Refuse)


def test_a_replica_that_was_just_loaded_stays_until_its_residency_ends() -> None:
    fleet = a_fleet(a_node(free_gib=16), a_held_replica("r-1", "a", 16), a_model("a"), now=NOW - 4)
    fleet.report("n-one", {}, NOW)
    decision = decided(wish(), fleet)
    assert isinstance(decision, Wait)
    assert (decision.reason, decision.until) == ("what could go was loaded too recently", NOW + 6)
    fleet.report("n-one", {}, NOW + 6)
    assert victims(wish(), fleet, now=NOW + 6) == {"r-1"}


def test_what_was_not_measured_cannot_make_room_yet() -> None:
    fleet = a_world(a_node(free_gib=16), replace(a_held_replica("r-1", "a", 16), memory_bytes=0))
    assert isinstance(decided(wish(), fleet), Wait)


@pytest.mark.parametrize("held", [(), (Policy("a", min_replicas=1),), (a_model("a", pinned=True),)])
def test_nobody_is_refused_while_it_is_not_known_what_is_free(held: tuple[Policy | Model, ...]) -> None:
    """A node's last heartbeat came between the end of a load and its measurement: its memory is taken off twice."""
    ready = replace(a_held_replica("r-1", "a", 8), memory_bytes=0)
    models = () if any(isinstance(each, Model) for each in held) else (a_model("a"),)
    fleet = a_fleet(a_node(free_gib=7), ready, *models, *held, now=NOW - 1)
    fleet.measure("n-one", fleet.nodes["n-one"].devices, fleet.replicas_on("n-one"))
    decision = decided(wish(deadline=NOW + 60), fleet)
    assert isinstance(decision, Wait), decision
    assert decision.reason == "what could go is loading or not known well yet"
    # Some devices never tell what a process holds.
    assert isinstance(decided(wish(deadline=NOW + 60), fleet, now=NOW + 10), Refuse)


def test_on_a_node_that_does_not_report_its_load_everybody_may_be_busy() -> None:
    fleet = a_world(full_node(), a_held_replica("r-1", "a", 16))
    assert isinstance(decided(wish(), fleet, now=NOW + 6), Wait)


def test_an_outdated_replica_goes_before_anything_else() -> None:
    old = a_held_replica("r-1", "a", 8, revision="rev0")
    good = a_held_replica("r-2", "b", 8)
    fleet = a_world(full_node(), old, good, a_model("a", pinned=True), used={"r-1": 999, "r-2": 2})
    assert victims(wish(), fleet) == {"r-1"}


def test_a_model_that_no_node_could_ever_hold_is_refused_with_the_numbers() -> None:
    decision = decided(wish(20), a_world(full_node(), a_held_replica("r-1", "a", 16)))
    assert isinstance(decision, Refuse)
    assert decision.reason == "it needs 20.0 GiB and no node that it may use has more than 16.0 GiB"


def test_a_wait_ends_with_its_deadline() -> None:
    fleet = a_world(full_node(), a_held_replica("r-1", "a", 8), busy={"r-1": 1})
    assert isinstance(decided(wish(deadline=NOW + 1), fleet), Wait)
    late = decided(wish(deadline=NOW), fleet)
    assert isinstance(late, Refuse)
    assert (late.reason, late.retry_after_seconds) == ("everything that could go is busy", 5.0)


def test_after_patience_the_least_busy_closes_and_finishes_what_it_has() -> None:
    pair = (a_held_replica("r-1", "a", 8), a_held_replica("r-2", "b", 8))
    fleet = a_world(full_node(), *pair, busy={"r-1": 3, "r-2": 1})
    waiting = decided(wish(since=NOW - 5), fleet)
    assert isinstance(waiting, Wait)
    assert waiting.until == NOW + 15
    decision = decided(wish(since=NOW - 20), fleet)
    assert isinstance(decision, Evict)
    assert ([r.id for r in decision.victims], decision.drains, decision.forced) == (["r-2"], True, False)


def test_a_forced_eviction_takes_busy_replicas_when_no_idle_one_helps() -> None:
    rules = replace(RULES, force=True)
    pair = (a_held_replica("r-1", "a", 8), a_held_replica("r-2", "b", 8))
    busy = a_world(full_node(), *pair, busy={"r-1": 3, "r-2": 1})
    decision = decided(wish(), busy, rules=rules)
    assert isinstance(decision, Evict)
    assert ([r.id for r in decision.victims], decision.forced) == (["r-2"], True)
    assert victims(wish(), a_world(full_node(), *pair, busy={"r-2": 1}), rules=rules) == {"r-1"}


def test_a_pinned_model_is_not_even_forced() -> None:
    fleet = a_world(full_node(), a_model("a", pinned=True), a_held_replica("r-1", "a", 16), busy={"r-1": 1})
    assert isinstance(decided(wish(), fleet, rules=replace(RULES, force=True)), Refuse)


def test_one_more_replica_may_be_wished_without_evicting_for_it() -> None:
    fleet = a_world(full_node(), a_held_replica("r-1", "a", 16))
    decision = decided(wish(another=True, may_evict=False), fleet)
    assert isinstance(decision, Refuse)
    assert decision.reason == "no free memory (1 node: 1 without enough free memory)"


def test_a_model_never_evicts_itself() -> None:
    node = full_node(max_replicas_per_model=2)
    fleet = a_world(node, a_held_replica("r-1", "new", 16), a_model("new"))
    assert isinstance(decided(wish(another=True), fleet), Refuse)


@pytest.mark.parametrize("group", [(), ("heavy",)])
def test_a_group_never_costs_a_wait_or_a_refusal(group: tuple[str, ...]) -> None:
    """Beside the group it would have to wait; with it there is room."""
    shares = (a_node("shared", free_gib=8), a_held_replica("r-1", "a", 8, node_id="n-shared"))
    apart = (full_node("apart"), a_held_replica("r-2", "b", 16, node_id="n-apart"))
    models = (a_model("a", concurrency_groups=group), a_model("b", pinned=True))
    decision = decided(wish(model={"concurrency_groups": group}), a_world(*shares, *apart, *models))
    assert isinstance(decision, Placed)
    assert decision.node.name == "shared"
