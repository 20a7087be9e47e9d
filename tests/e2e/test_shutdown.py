"""A worker that leaves, of its own will, harms nobody: what it works on finishes, everything else goes elsewhere."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.crowd import chat, crowd, traffic, words
from tests.e2e.stack import Stack, Worker, eventually, free_port

pytestmark = pytest.mark.e2e

MODEL, SLOW = "steady", "slow"
STREAMS = 8
# Of streams that take some seconds each.
TOKENS, PACE = 60, "delay_ms=100"


class Leaver(Worker):
    """A worker whose end is looked at."""

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit code."""
        return self._process.wait(seconds)

    @property
    def lives(self) -> bool:
        return self._process.poll() is None


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("shutdown") / "home", free_port())
    made.write_model(MODEL, parallel=16, max_queue=64)
    made.write_model(SLOW, parallel=16, max_queue=64, options={"load_delay_ms": "3000"})
    made.up(WEFT_AUTO_APPROVE_NODES="true", WEFT_EXPOSE_NODE_HEADER="true", WEFT_HEARTBEAT_INTERVAL="1s")
    made.load(MODEL, "local")
    yield made
    made.leave()


@pytest.fixture
def two(stack: Stack) -> Iterator[Leaver]:
    """A second worker that serves the model too."""
    worker = Leaver(stack, "two", {})
    worker.start()
    stack.load(MODEL, "two")
    eventually(lambda: "two" in {stack.chat(MODEL, max_tokens=1).headers["x-weft-node"]}, what="two serving")
    yield worker
    if worker.lives:
        worker.end()


def node(stack: Stack) -> Any:
    with stack.client() as client:
        return client.get("/api/nodes/two").json()["node"]


def state(stack: Stack) -> str:
    return str(node(stack)["state"]).removeprefix("NODE_STATE_").lower()


def streams() -> list[dict[str, Any]]:
    return [chat(MODEL, f"tokens={TOKENS} {PACE}", stream=True) for _ in range(STREAMS)]


def test_a_worker_that_is_terminated_finishes_its_streams_while_others_serve(
    stack: Stack, two: Leaver
) -> None:
    with (
        traffic(stack, chat(MODEL, "tokens=3"), lanes=4) as steady,
        crowd(stack, streams()) as asked,
    ):
        eventually(lambda: asked.opened_count == STREAMS, what="every stream begun")
        assert {answer.headers["x-weft-node"] for answer in asked.answers} == {"local", "two"}
        two.send(signal.SIGTERM)
        eventually(lambda: state(stack) == "draining", what="the drain", seconds=3)
        before = len(steady.answers)
        assert steady.goes_on(40)
        assert (two.lives, any(not answer.whole for answer in asked.answers)) == (True, True)
        latest = steady.answers[before + 20 :]
        assert {answer.headers["x-weft-node"] for answer in latest} == {"local"}
    assert [answer.text for answer in asked.answers] == [words(TOKENS)] * STREAMS
    assert all(answer.done for answer in asked.answers)
    assert steady.failures == []
    assert two.wait(10) == 0
    assert state(stack) == "offline"
    assert stack.parts("replica:two/") == []


def test_a_second_signal_ends_it_soon(stack: Stack, two: Leaver) -> None:
    with crowd(stack, [chat(MODEL, "tokens=400 delay_ms=100", stream=True) for _ in range(STREAMS)]) as asked:
        eventually(lambda: asked.opened_count == STREAMS, what="every stream begun")
        two.send(signal.SIGTERM)
        eventually(lambda: state(stack) == "draining", what="the drain", seconds=3)
        two.send(signal.SIGINT)
        assert two.wait(4) == 0
        asked.leave()
    assert state(stack) == "offline"


def test_a_stream_without_end_is_cut_when_the_patience_ends_and_is_told_so(stack: Stack) -> None:
    # A model of its own, so that it runs on the one worker that leaves.
    impatient = Leaver(stack, "three", {"WEFT_SHUTDOWN_TIMEOUT": "4s"})
    impatient.start()
    stack.load(SLOW, "three")
    with crowd(stack, [chat(SLOW, "tokens=100000 delay_ms=100", stream=True)]) as asked:
        eventually(lambda: asked.opened_count == 1, what="the stream")
        impatient.send(signal.SIGTERM)
        assert impatient.wait(12) == 0
    (answer,) = asked.answers
    assert (answer.status, answer.headers["x-weft-node"]) == (200, "three")
    assert answer.text.startswith("t0 t1 ")
    # Told in the stream, as its process was alive to say so, and never by the mark of an answer that is whole.
    assert ("error" in answer.events()[-1], b"[DONE]" in answer.body) == (True, False), answer.body[-500:]
    assert stack.parts("replica:three/") == []


def test_a_worker_is_drained_and_resumed_on_its_own_machine(stack: Stack, two: Leaver) -> None:
    with traffic(stack, chat(MODEL, "tokens=3"), lanes=4) as steady, crowd(stack, streams()) as asked:
        eventually(lambda: asked.opened_count == STREAMS, what="every stream begun")
        drained = stack.weft("worker", "drain", "--node-name", "two")
        assert (drained.returncode, drained.stderr) == (0, "")
        lines = drained.stdout.splitlines()
        assert lines[0] == "two drains: new requests go elsewhere"
        assert lines[-1] == "two is drained: nothing runs there; `weft worker resume` brings it back"
        assert any("in flight, 1 replica left" in line for line in lines)
        assert steady.goes_on(10)
    assert [answer.text for answer in asked.answers] == [words(TOKENS)] * STREAMS
    assert steady.failures == []
    assert (state(stack), two.lives, stack.parts("replica:two/")) == ("draining", True, [])

    resumed = stack.weft("worker", "resume", "--node-name", "two")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    eventually(lambda: state(stack) == "healthy", what="two back")
    stack.load(MODEL, "two")


def test_a_drain_need_not_be_waited_for_and_is_called_off_by_the_worker_alone(
    stack: Stack, two: Leaver
) -> None:
    assert stack.weft("worker", "drain", "--no-wait", "--node-name", "two").returncode == 0
    assert state(stack) == "draining"
    assert stack.weft("worker", "resume", "--node-name", "two").returncode == 0
    assert stack.weft("nodes", "drain", "two").returncode == 0
    refused = stack.weft("worker", "resume", "--node-name", "two")
    assert (refused.returncode, "drains by an admin's wish" in refused.stderr) == (1, True)
    assert stack.weft("nodes", "resume", "two").returncode == 0


def test_whoever_means_no_worker_is_told_so(stack: Stack, two: Leaver) -> None:
    several = stack.weft("worker", "drain")
    assert (several.returncode, "local, two" in several.stderr) == (1, True)
    nobody = stack.weft("worker", "drain", "--node-name", "three")
    assert (nobody.returncode, "no worker three runs" in nobody.stderr) == (1, True)


def test_a_load_on_a_worker_that_leaves_goes_on_elsewhere(stack: Stack, two: Leaver) -> None:
    stack.weft("nodes", "drain", "local")  # for the load to be sent to the other one
    with crowd(stack, [chat(SLOW, "tokens=3", stream=True) for _ in range(3)]) as asked:
        eventually(lambda: stack.parts(f"replica:two/{SLOW}"), what="the load")
        stack.weft("nodes", "resume", "local")
        two.send(signal.SIGTERM)
        assert two.wait(10) == 0
    assert [(answer.status, answer.headers["x-weft-node"]) for answer in asked.answers] == [
        (200, "local")
    ] * 3
    assert all(answer.done for answer in asked.answers)
