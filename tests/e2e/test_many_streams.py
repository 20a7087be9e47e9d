"""Many streams at once: more than there are slots, and more than proxies take by default."""

from pathlib import Path

import grpc
import pytest

from tests.e2e.crowd import Answer, ask_all, chat, crowd, words
from tests.e2e.stack import Stack, eventually
from tests.faults import ReplicaDoor
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def models(stack: Stack) -> None:
    stack.write_model("narrow", parallel=4, max_queue=64)
    stack.add_model("wide", parallel=1500, max_queue=600)


def ids_of(answer: Answer) -> set[str]:
    return {event["id"] for event in answer.events()}


def test_50_streams_over_4_slots_are_each_complete_and_their_own(stack: Stack) -> None:
    answers = ask_all(stack, [chat("narrow", f"tokens={n} delay_ms=2", stream=True) for n in range(10, 60)])
    assert all(answer.done for answer in answers)
    assert [answer.text for answer in answers] == [words(n) for n in range(10, 60)]
    assert all(len(ids_of(answer)) == 1 for answer in answers)
    assert len(set.union(*map(ids_of, answers))) == 50
    # How they waited is told only where the setting says so.
    assert not any("queue" in name for answer in answers for name in answer.headers)


def test_2000_streams_open_at_once_end_well(stack: Stack, tmp_path: Path) -> None:
    assert stack.chat("wide", "tokens=1").status_code == 200
    door = ReplicaDoor(stack.home, stack.part("replica:local/wide").address)
    gate = tmp_path / "gate"
    body = chat("wide", f"tokens=3 delay_ms=500 gate_file={gate}", stream=True)
    with crowd(stack, [body] * 2000) as asked:

        def here() -> tuple[int, int]:
            working, queued = door.busy()
            return working, queued + stack.waiting("wide")

        eventually(lambda: here() == (1500, 500), what="2,000 streams open", seconds=60)
        gate.touch()
    assert [a.status for a in asked.answers if not a.done] == []
    assert {answer.text for answer in asked.answers} == {words(3)}


def test_1100_streams_of_one_http2_connection_are_open_at_once(stack: Stack, tmp_path: Path) -> None:
    """Envoy lets a client have 1,024 by default; the others would wait in the client."""
    assert stack.chat("wide", "tokens=1").status_code == 200
    door = ReplicaDoor(stack.home, stack.part("replica:local/wide").address)
    gate = tmp_path / "gate"
    message = pb.Message(role=pb.ROLE_USER, content=f"tokens=1 gate_file={gate}")
    request = pb.ChatRequest(model="wide", messages=[message]).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{stack.port}") as channel:
        chat_call = channel.unary_stream("/weft.inference.v1.InferenceService/Chat")
        key = ("authorization", f"Bearer {stack.key}")
        calls = [chat_call(request, metadata=(key,), timeout=60) for _ in range(1100)]
        eventually(lambda: door.busy() == (1100, 0), what="1,100 streams open", seconds=30)
        gate.touch()
        assert {len(list(call)) for call in calls} == {2}
