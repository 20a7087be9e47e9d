from google.protobuf.duration_pb2 import Duration

from weft_common.report_flow import BUSY_REPEAT_SECONDS
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_worker.agent.load_board import COALESCE_SECONDS, MAX_GONE, REPEAT_SECONDS, LoadBoard
from weft_worker.backend.lease import Load, PicksOfGateway, Work


def load(in_flight: int = 1) -> Load:
    return Load(in_flight=in_flight, queued=0)


def test_a_report_says_what_backends_told() -> None:
    board = LoadBoard("agent-1")
    picks = PicksOfGateway(gateway_id="g-1", contiguous=7, beyond=(9, 11))
    board.tell("r-1", Load(in_flight=2, queued=1, picks=(picks,), stalled_seconds=1.5))
    stalled = Duration(seconds=1, nanos=500_000_000)
    assert board.compose("n-1", 0.0) == reports_pb2.LoadReport(
        node_id="n-1",
        sequence=1,
        agent_id="agent-1",
        replicas=[
            reports_pb2.ReplicaLoad(
                replica_id="r-1",
                in_flight_count=2,
                queued_count=1,
                picks=[reports_pb2.SeenPicks(gateway_id="g-1", contiguous=7, beyond=[9, 11])],
                stalled=stalled,
            )
        ],
    )


def test_a_report_with_nothing_told_goes_out_every_second() -> None:
    board = LoadBoard("a")
    assert board.wait_seconds(0.0) == 0.0
    board.tell("r", Load(in_flight=0, queued=0))
    board.compose("n", 0.0)
    assert board.wait_seconds(0.25) == REPEAT_SECONDS - 0.25
    board.tell("r", Load(in_flight=0, queued=0))
    assert board.wait_seconds(0.25) == 0.0
    board.compose("n", 0.25)
    assert board.wait_seconds(0.25 + REPEAT_SECONDS) == 0.0
    assert not board.compose("n", 0.25 + REPEAT_SECONDS).replicas


def test_it_goes_out_more_often_while_anything_is_busy() -> None:
    board = LoadBoard("a")
    board.tell("idle", Load(in_flight=0, queued=0))
    board.tell("busy", load())
    board.compose("n", 0.0)
    assert board.wait_seconds(0.25) == BUSY_REPEAT_SECONDS - 0.25
    board.forget("busy")
    board.compose("n", 0.5)
    assert board.wait_seconds(0.5) == REPEAT_SECONDS


def test_reports_keep_their_distance_and_the_last_word_counts() -> None:
    board = LoadBoard("a")
    board.tell("r", load(1))
    assert board.wait_seconds(100.0) == 0.0
    board.compose("n", 100.0)
    board.tell("r", load(2))
    board.tell("r", load(3))
    assert 0.0 < (board.wait_seconds(100.001) or 0.0) <= COALESCE_SECONDS
    assert board.wait_seconds(100.0 + COALESCE_SECONDS) == 0.0
    assert [r.in_flight_count for r in board.compose("n", 101.0).replicas] == [3]


def test_the_sequence_rises_with_every_report() -> None:
    board = LoadBoard("a")
    sequences = []
    for now in range(3):
        board.tell("r", load())
        sequences.append(board.compose("n", float(now)).sequence)
    assert sequences == [1, 2, 3]


def test_an_ended_replica_is_gone_and_has_no_load() -> None:
    board = LoadBoard("a")
    board.tell("r", load())
    board.forget("r")
    report = board.compose("n", 0.0)
    assert (list(report.replicas), list(report.gone_replica_ids)) == ([], ["r"])


def test_what_is_gone_is_told_again_after_a_report_was_lost() -> None:
    board = LoadBoard("a")
    board.forget("r-1")
    board.undelivered(board.compose("n", 0.0))
    board.forget("r-2")
    assert list(board.compose("n", 1.0).gone_replica_ids) == ["r-1", "r-2"]


def test_what_is_gone_is_bounded() -> None:
    board = LoadBoard("a")
    for number in range(MAX_GONE + 5):
        board.forget(str(number))
    assert len(board.compose("n", 0.0).gone_replica_ids) == MAX_GONE


def test_a_report_says_what_was_done_for_whom() -> None:
    board = LoadBoard("agent-1")
    done = Work(principal="alice", generated=9, prompt=4, finished=2, slot_ms=70, here=1, running=3)
    board.tell("r-1", Load(in_flight=1, queued=0, works=(done,)))
    (told,) = board.compose("n-1", 0.0).replicas
    assert list(told.works) == [
        reports_pb2.PrincipalWork(
            principal="alice",
            generated_token_count=9,
            prompt_token_count=4,
            finished_count=2,
            slot_ms=70,
            in_flight_count=1,
            running_token_count=3,
        )
    ]


def test_a_report_tells_wishes_starts_and_that_memory_is_short() -> None:
    board = LoadBoard("a")
    board.tell("r", Load(in_flight=0, queued=0, started=7, keep_alive_seconds=-1.0))
    full = reports_pb2.FullDevice(device_id="cpu", use=0.97, excess_bytes=5)
    report = board.compose("n", 0.0, full=[full])
    (told,) = report.replicas
    assert (told.started_count, told.keep_alive.ToSeconds(), [*report.full_devices]) == (7, -1, [full])
    board.tell("r", load())
    report = board.compose("n", 1.0)
    assert not report.full_devices
    assert not report.replicas[0].HasField("keep_alive")
