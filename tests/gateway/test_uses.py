"""When replicas were last in use, by what workers report."""

from typing import Any

from weft_common.clock import ManualClock
from weft_gateway.uses import Uses
from weft_proto.pb.weft.bus.v1 import reports_pb2


def _report(*replicas: dict[str, Any], gone: tuple[str, ...] = ()) -> reports_pb2.LoadReport:
    return reports_pb2.LoadReport(
        node_id="n-1", replicas=[reports_pb2.ReplicaLoad(**each) for each in replicas], gone_replica_ids=gone
    )


def test_a_replica_is_used_while_it_is_busy_and_when_more_was_let_in() -> None:
    clock = ManualClock()
    uses = Uses(clock)
    moments = []
    for entry in (
        {"started_count": 3},
        {"started_count": 3},
        {"started_count": 3, "in_flight_count": 1},
        {"started_count": 3},
        {"started_count": 4},
        {"started_count": 4},
    ):
        uses.hear(_report({"replica_id": "r", **entry}))
        moments.append(uses.of("r").moment)
        clock.advance(1)
    start = moments[0]
    assert [moment - start for moment in moments] == [0, 0, 2, 2, 4, 4]


def test_the_latest_wish_counts() -> None:
    uses = Uses(ManualClock())
    assert uses.of("r").keep_alive is None
    for wish, said in (({"seconds": 300}, 300), ({"seconds": -1}, -1), ({"seconds": 0}, 0), (None, None)):
        uses.hear(_report({"replica_id": "r", "keep_alive": wish}))
        assert uses.of("r").keep_alive == said


def test_what_is_gone_is_forgotten() -> None:
    clock = ManualClock()
    uses = Uses(clock)
    uses.hear(_report({"replica_id": "r"}, {"replica_id": "s"}))
    clock.advance(1)
    uses.hear(_report(gone=("r",)))
    assert uses.of("r").moment == clock.monotonic()
    assert uses.of("s").moment == clock.monotonic() - 1


def test_what_nobody_tells_of_does_not_pile_up() -> None:
    clock = ManualClock()
    uses = Uses(clock)
    uses.hear(_report(*({"replica_id": f"old-{i}"} for i in range(1000))))
    clock.advance(100)
    uses.hear(_report(*({"replica_id": f"new-{i}"} for i in range(1000))))
    assert uses.of("old-1").told == clock.monotonic()
    clock.advance(1)
    assert uses.of("new-1").told == clock.monotonic() - 1
