"""The gateway's view: what is a target, and that time never runs back."""

from typing import Any

import pytest

from tests.gateway.builders import a_full_update, a_model, a_node, a_policy, a_replica, a_view, an_update
from weft_common.clock import ManualClock
from weft_gateway.fleet_view import FleetView
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_proto.pb.weft.routing.v1.routing_service_pb2 import RouteResponse


def targets(view: FleetView, model: str = "m") -> list[str]:
    return [t.replica_id for t in view.targets(model)]


def test_a_ready_replica_on_a_healthy_node_that_was_heard_is_a_target() -> None:
    view = a_view()
    view.apply(a_full_update())
    assert targets(view) == ["r-1"]


@pytest.mark.parametrize(
    "fields",
    [
        {"nodes": [a_node(state="NODE_STATE_PENDING")]},
        {"nodes": [a_node(state="NODE_STATE_DRAINING")]},
        {"nodes": []},
        {"replicas": [a_replica(state="REPLICA_STATE_LOADING")]},
        {"replicas": [a_replica(revision="old")]},
        {"replicas": [a_replica(problem="its process is stopped")]},
        {"models": []},
    ],
)
def test_anything_less_is_no_target(fields: dict[str, Any]) -> None:
    view = a_view()
    view.apply(a_full_update(**fields))
    assert targets(view) == []


def test_what_is_out_of_reach_is_used_where_there_is_nothing_else() -> None:
    view = a_view()
    view.apply(a_full_update(replicas=[a_replica(unreachable="no way")]))
    assert targets(view) == []
    assert [t.replica_id for t in view.silent_targets("m")] == ["r-1"]
    assert view.suspects("m") == ["r-1"]


def test_changes_follow_in_any_order() -> None:
    view = a_view()
    view.apply(an_update(1, replicas=[a_replica()]))
    view.apply(an_update(2, models=[a_model()]))
    view.apply(an_update(3, nodes=[a_node()], heard=("n-1",)))
    assert targets(view) == ["r-1"]
    view.apply(an_update(4, nodes=[a_node(state="NODE_STATE_DRAINING")]))
    assert targets(view) == []
    view.apply(an_update(5, nodes=[a_node()]))
    view.apply(an_update(6, removed_replica_ids=["r-1"]))
    assert targets(view) == []


def test_a_full_update_from_the_past_is_passed_over_but_its_liveness_counts() -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update(5))
    clock.advance(31)
    view.apply(a_full_update(4, replicas=[]))
    assert (targets(view), view.sequence) == (["r-1"], 5)


def test_a_full_update_replaces_everything() -> None:
    view = a_view()
    view.apply(a_full_update(5))
    view.apply(a_full_update(6, replicas=[a_replica("r-2")]))
    assert targets(view) == ["r-2"]


def test_a_node_that_is_silent_for_thirty_seconds_is_suspect() -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update())
    clock.advance(30.5)
    assert (targets(view), view.suspects("m")) == ([], ["r-1"])
    view.load(reports_pb2.LoadReport(node_id="n-1"))
    assert (targets(view), view.suspects("m")) == (["r-1"], [])


def test_a_node_whose_heartbeats_are_late_is_looked_at_before_it_is_used() -> None:
    view = a_view()
    view.apply(a_full_update())
    view.apply(an_update(4, nodes=[a_node(state="NODE_STATE_UNHEALTHY")]))
    assert (targets(view), view.suspects("m")) == ([], ["r-1"])
    assert [t.replica_id for t in view.silent_targets("m")] == ["r-1"]


def test_reports_reach_the_load_of_their_replica_with_this_gateways_picks() -> None:
    view = a_view(gateway_id="g-1")
    view.apply(a_full_update())
    (target,) = view.targets("m")
    target.load.pick(0.0)
    picks = [
        reports_pb2.SeenPicks(gateway_id="g-0", contiguous=9),
        reports_pb2.SeenPicks(gateway_id="g-1", contiguous=0),
    ]
    entry = reports_pb2.ReplicaLoad(replica_id="r-1", in_flight_count=2, queued_count=1, picks=picks)
    view.load(reports_pb2.LoadReport(node_id="n-1", replicas=[entry]))
    assert target.in_flight_count == 2 + 1 + 1


def test_a_replica_whose_process_ended_is_no_target_and_suspect_until_the_fleet_knows() -> None:
    view = a_view()
    view.apply(a_full_update())
    view.load(reports_pb2.LoadReport(node_id="n-1", gone_replica_ids=["r-1"]))
    assert (targets(view), view.suspects("m")) == ([], ["r-1"])
    view.apply(an_update(2, removed_replica_ids=["r-1"]))
    assert view.suspects("m") == []


def test_a_routers_answer_counts_before_the_watch_brings_it() -> None:
    view = a_view()
    view.apply(a_full_update(replicas=[]))
    view.merge(RouteResponse(replicas=[a_replica()], sequence=view.sequence))
    assert targets(view) == ["r-1"]


def test_a_routers_answer_brings_the_nodes_that_the_watch_does_not_know_yet() -> None:
    view = a_view()
    view.apply(a_full_update(replicas=[]))
    new = RouteResponse(replicas=[a_replica(node_id="n-2")], nodes=[a_node("n-2")], sequence=9)
    view.merge(new)
    assert [t.node.name for t in view.silent_targets("m")] == ["n-2"]


def test_a_routers_answer_that_the_watch_has_overtaken_brings_nothing_back() -> None:
    view = a_view()
    view.apply(a_full_update())
    view.apply(an_update(2, removed_replica_ids=["r-1"]))
    view.merge(RouteResponse(replicas=[a_replica()], sequence=1))
    assert targets(view) == []


def test_a_router_that_lags_behind_brings_nothing_back_but_word_of_who_lives() -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update(5))
    view.watched = True
    view.apply(an_update(6, removed_replica_ids=["r-1"]))
    clock.advance(3600)
    view.apply(an_update(4, replicas=[a_replica(), a_replica("r-2")], heard=("n-1",)))
    assert targets(view) == []
    view.apply(an_update(7, replicas=[a_replica("r-3")]))
    assert targets(view) == ["r-3"]


def test_a_load_outlives_changes_of_its_replica() -> None:
    view = a_view()
    view.apply(a_full_update())
    view.targets("m")[0].load.pick(1_000.0)
    view.apply(an_update(2, replicas=[a_replica(memory_bytes=5)]))
    assert view.targets("m")[0].in_flight_count == 1


def test_while_nobody_watches_the_fleet_silence_says_nothing() -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update())
    clock.advance(3600)
    view.watched = False
    assert (targets(view), view.suspects("m")) == (["r-1"], [])


def test_a_full_update_of_another_fleet_replaces_everything_whatever_its_sequence() -> None:
    view = a_view()
    view.apply(a_full_update(50, fleet_id="old"))
    view.apply(a_full_update(2, fleet_id="new", replicas=[a_replica("r-2")]))
    assert (targets(view), view.sequence, view.fleet_id) == (["r-2"], 2, "new")


def test_only_nodes_that_its_policy_selects_serve_a_model() -> None:
    view = a_view()
    east = a_node("n-2", labels={"zone": "east"})
    view.apply(
        a_full_update(
            nodes=[a_node(), east],
            replicas=[a_replica(), a_replica("r-2", node_id="n-2")],
            heard=("n-1", "n-2"),
        )
    )
    assert targets(view) == ["r-1", "r-2"]
    view.apply(an_update(2, policies=[a_policy(node_selector={"zone": "east"})]))
    assert targets(view) == ["r-2"]
    view.apply(an_update(3, nodes=[a_node(labels={"zone": "east"})]))
    assert targets(view) == ["r-1", "r-2"]
    view.apply(an_update(4, policies=[a_policy(node_selector={"zone": "east", "gpu.vendor": "amd"})]))
    assert targets(view) == []
    view.apply(an_update(5, removed_policies=["m"]))
    assert targets(view) == ["r-1", "r-2"]


def test_a_full_update_brings_all_policies_there_are() -> None:
    view = a_view()
    view.apply(a_full_update(policies=[a_policy(node_selector={"zone": "east"})]))
    assert targets(view) == []
    view.apply(a_full_update(2))
    assert (targets(view), view.policies) == (["r-1"], {})


def test_a_load_goes_with_its_replica() -> None:
    view = a_view()
    view.apply(a_full_update())
    view.targets("m")[0].load.pick(1_000.0)
    view.apply(an_update(2, removed_replica_ids=["r-1"]))
    view.apply(an_update(3, replicas=[a_replica()]))
    assert view.targets("m")[0].in_flight_count == 0
    view.targets("m")[0].load.pick(1_000.0)
    view.apply(a_full_update(4, replicas=[]))
    view.apply(a_full_update(5))
    assert view.targets("m")[0].in_flight_count == 0


def test_one_that_falls_mute_while_its_node_reports_is_used_only_for_want_of_others() -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(
        a_full_update(replicas=[a_replica("r-1"), a_replica("r-2", index=1), a_replica("r-3", index=2)])
    )

    def told(*replicas: str) -> list[str]:
        loads = [reports_pb2.ReplicaLoad(replica_id=i) for i in replicas]
        view.load(reports_pb2.LoadReport(node_id="n-1", replicas=loads))
        return targets(view)

    assert told("r-1", "r-2") == ["r-1", "r-2", "r-3"]
    for _ in range(5):
        clock.advance(1)
        assert told("r-2") == ["r-1", "r-2", "r-3"]
    clock.advance(0.1)
    assert told("r-2") == ["r-2", "r-3"]  # the third has not said anything yet
    clock.advance(60)
    assert targets(view) == []  # its whole node is silent, and nobody can tell
    assert told("r-1") == ["r-1", "r-3"]


def test_the_only_one_is_used_mute_or_not() -> None:
    clock = ManualClock()
    view = a_view(clock)
    view.apply(a_full_update())
    for loads in ([reports_pb2.ReplicaLoad(replica_id="r-1")], []):
        view.load(reports_pb2.LoadReport(node_id="n-1", replicas=loads))
        clock.advance(10)
    view.load(reports_pb2.LoadReport(node_id="n-1"))
    assert targets(view) == ["r-1"]


class Two:
    """A replica on each of two nodes, as one gateway sees them; state: the clock and the view."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.view = a_view(self.clock)
        nodes = [a_node(), a_node("n-2")]
        replicas = [a_replica(slot_count=4), a_replica("r-2", node_id="n-2", slot_count=4)]
        self.view.apply(a_full_update(nodes=nodes, replicas=replicas, heard=("n-1", "n-2")))
        self.first, self.second = self.view.targets("m")

    def report(self, *nodes: str, busy: int = 0) -> None:
        for node in nodes:
            load = reports_pb2.ReplicaLoad(replica_id=node.replace("n", "r"), in_flight_count=busy)
            self.view.load(reports_pb2.LoadReport(node_id=node, replicas=[load]))

    def go_on(self, seconds: int, *nodes: str) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.report(*nodes)


def test_one_that_hangs_on_a_node_of_its_own_keeps_what_it_had_and_then_counts_as_full() -> None:
    two = Two()
    two.report("n-1", "n-2", busy=1)
    two.first.load.pick(two.clock.monotonic())
    two.go_on(4, "n-2")
    assert (two.first.in_flight_count, two.first.is_full) == (2, False)
    two.go_on(2, "n-2")
    assert (two.first.in_flight_count, two.first.is_full) == (2, True)
    assert targets(two.view) == ["r-2"]
    two.report("n-1")
    assert (targets(two.view), two.first.is_full) == (["r-1", "r-2"], False)


def test_while_the_whole_bus_is_silent_nobody_is_mute_nor_right_after() -> None:
    two = Two()
    two.report("n-1", "n-2", busy=4)
    two.clock.advance(20)
    assert (targets(two.view), two.first.in_flight_count) == (["r-1", "r-2"], 0)
    two.first.load.pick(0.0)
    assert not two.first.is_full
    two.go_on(5, "n-2")
    assert targets(two.view) == ["r-1", "r-2"]
    two.go_on(2, "n-2")
    assert targets(two.view) == ["r-2"]


def test_a_node_whose_heartbeats_go_on_without_reports_has_only_lost_the_bus() -> None:
    two = Two()
    two.report("n-1", "n-2")
    two.go_on(6, "n-2")
    assert targets(two.view) == ["r-2"]
    two.view.apply(an_update(0, heard=("n-1",)))
    assert targets(two.view) == ["r-1", "r-2"]


def test_one_that_never_said_anything_is_mute_once_a_pick_goes_unseen() -> None:
    two = Two()

    def go_on(seconds: int) -> None:
        for _ in range(seconds):
            two.go_on(1, "n-2")
            two.view.load(reports_pb2.LoadReport(node_id="n-1"))

    go_on(10)
    assert targets(two.view) == ["r-1", "r-2"]
    two.first.load.pick(two.clock.monotonic())
    go_on(5)
    assert targets(two.view) == ["r-1", "r-2"]
    go_on(1)
    assert targets(two.view) == ["r-2"]
