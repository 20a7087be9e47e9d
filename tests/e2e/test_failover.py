"""Until the first byte of an answer, a second replica stands in for the first, whatever happened to that one."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.crowd import Answer, ask_all, chat, crowd
from tests.e2e.dialects import STREAMS
from tests.e2e.pair import MODELS, SOLO, STURDY, TIGHT, Pair
from tests.e2e.readers import embed, reading
from tests.e2e.stack import Part, eventually
from tests.faults import filled, kill, refused, stopped

pytestmark = pytest.mark.e2e

# Each gateway takes replicas in turn, so of so many requests each has tried both.
ENOUGH = 6
# So many at once go to both, also where a busy machine has a gateway count some that have ended; one replica holds all.
MANY = 12


def idle(pair: Pair, model: str) -> dict[str, Part]:
    """One replica on each node, which everybody knows to be idle: also an agent that is gone by then has said so."""
    replicas = pair.ensure(model)
    pair.wait_until_idle(*replicas.values())
    return replicas


def one_by_one(pair: Pair, model: str, words: str = "tokens=2") -> list[Answer]:
    """A few requests, each after the one before: no answer's load says that a replica is busy."""
    return [ask_all(pair.stack, [chat(model, words)])[0] for _ in range(ENOUGH)]


def assert_stood_in(pair: Pair, answers: list[Answer], node: str = "local") -> None:
    assert [a.status for a in answers] == [200] * len(answers)
    assert all(a.whole for a in answers)
    assert {a.headers["x-weft-node"] for a in answers} == {node}
    assert max(pair.attempts(answers)) == 2, "nobody was sent to the broken replica"


def error_of(answer: Answer) -> dict[str, str | None]:
    assert answer.headers["content-type"] == "application/json"
    document = json.loads(answer.body)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "param", "code"}
    error: dict[str, str | None] = document["error"]
    return error


def is_serving(replica: Part) -> bool:
    with grpc.insecure_channel(replica.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_a_closed_port(pair: Pair) -> None:
    replica = idle(pair, STURDY)["two"]
    with refused(replica, agent=pair.agent("two")):
        assert_stood_in(pair, one_by_one(pair, STURDY))


def test_a_closed_port_in_every_dialect(pair: Pair) -> None:
    replica = idle(pair, STURDY)["two"]
    with refused(replica, agent=pair.agent("two")), pair.stack.client() as client:
        for surface in STREAMS:
            for stream in (False, True):
                body = {"model": STURDY, "stream": stream, **surface.body("tokens=2")}
                for _ in range(2):
                    answer = client.post(surface.path, json=body)
                    assert (answer.status_code, answer.headers["x-weft-node"]) == (200, "local"), answer.text
                    assert surface.end in answer.text or not stream


def test_a_stopped_process(pair: Pair) -> None:
    replica = pair.ensure(STURDY)["two"]
    began = time.monotonic()
    with stopped(replica):
        answers = ask_all(pair.stack, [chat(STURDY, "tokens=2") for _ in range(ENOUGH)])
    assert_stood_in(pair, answers)
    assert time.monotonic() - began < 20  # pings every 5 s that may take 5 s


def test_a_process_killed_while_it_makes_vectors(pair: Pair, tmp_path: Path) -> None:
    model, gate = "vectors", tmp_path / "gate"
    options = {"gate_file": str(gate), "count_file": str(tmp_path / "count")}
    pair.stack.add_model(model, embeddings=True, parallel=MANY, options=options)
    for node in ("local", "two"):
        pair.stack.load(model, node)
    replicas = pair.replicas(model)
    with reading(pair.stack) as client:
        asked = [client.begin(embed(model, "x", "y")) for _ in range(MANY)]
        eventually(lambda: sum(pair.door(r).busy()[0] for r in replicas.values()) == MANY, what="all at work")
        assert pair.door(replicas["two"]).busy()[0] > 0
        kill(replicas["two"])
        eventually(lambda: pair.door(replicas["local"]).busy()[0] == MANY, what="all at the other one")
        gate.touch()
        assert [len(call.result().embeddings) for call in asked] == [2] * MANY


def test_a_process_killed_while_it_reads_the_prompt(pair: Pair, tmp_path: Path) -> None:
    replicas = pair.ensure(STURDY)
    gate = tmp_path / "gate"
    with crowd(pair.stack, [chat(STURDY, f"tokens=2 gate_file={gate}") for _ in range(MANY)]) as asked:
        eventually(lambda: sum(pair.door(r).busy()[0] for r in replicas.values()) == MANY, what="all at work")
        assert pair.door(replicas["two"]).busy()[0] > 0
        kill(replicas["two"])
        eventually(lambda: pair.door(replicas["local"]).busy()[0] == MANY, what="taken over")
        gate.touch()
    assert_stood_in(pair, asked.answers)


def test_a_replica_without_its_agent_refuses_and_is_adopted_later(pair: Pair) -> None:
    replica = idle(pair, STURDY)["two"]
    pair.two.kill()
    try:
        eventually(lambda: not is_serving(replica), what="the lease to run out")
        answers = one_by_one(pair, STURDY)
    finally:
        pair.two.start()
    assert_stood_in(pair, answers)
    assert pair.outcomes("two", answers) == {"REPLICA_CLOSING"}
    eventually(lambda: is_serving(replica), what="the replica to take work again")
    assert pair.ensure(STURDY)["two"] == replica


def test_a_full_replica(pair: Pair) -> None:
    replica = idle(pair, TIGHT)["two"]
    # Its agent may not tell how full it is, or nobody would be sent there.
    with stopped(pair.agent("two")), filled(pair.door(replica)):
        answers = one_by_one(pair, TIGHT)
        assert_stood_in(pair, answers)
        assert pair.outcomes("two", answers) == {"REPLICA_FULL"}


def test_two_full_replicas_say_so(pair: Pair) -> None:
    replicas = pair.ensure(TIGHT)
    with ExitStack() as full:
        for replica in replicas.values():
            full.enter_context(filled(pair.door(replica)))
        pair.wait_until_full(*replicas.values())
        (answer,) = ask_all(pair.stack, [chat(TIGHT)])
    assert (answer.status, error_of(answer)["code"]) == (429, "wait_too_long")
    assert int(answer.headers["retry-after"]) >= 1


def test_of_200_requests_none_fails_when_a_replica_dies_but_those_that_had_begun(pair: Pair) -> None:
    replicas = pair.ensure(STURDY)
    bodies = [chat(STURDY, "tokens=20 delay_ms=10", stream=n % 2 == 0) for n in range(200)]
    with crowd(pair.stack, bodies) as asked:
        eventually(lambda: asked.opened_count >= 4, what="first streams")
        kill(replicas["two"])
    broken = [answer for answer in asked.answers if not answer.ok]
    # Only a stream of which the client has seen something may end early, and not as if it were complete.
    assert [(a.status, a.body[:200]) for a in broken if a.status != 200 or b'"content"' not in a.body] == []
    assert not any(a.done for a in broken)
    assert len(broken) <= MODELS[STURDY]["parallel"]
    words = "".join(f"t{n} " for n in range(20))
    assert all(answer.text == words for answer in asked.answers if answer.ok)
    assert 2 in pair.attempts([answer for answer in asked.answers if answer.ok])


@pytest.fixture
def solo(pair: Pair) -> Iterator[Part]:
    """The only replica of a model that runs on one node: its loss, noticed early or late, brings it to no other."""
    assert pair.stack.weft("policy", "set", SOLO, "--selector", "node.name=local").returncode == 0
    yield pair.ensure(SOLO, "local")["local"]
    assert pair.stack.weft("policy", "delete", SOLO).returncode == 0


@pytest.mark.parametrize(
    ("harm", "status", "code"),
    [
        ("kill", 503, "part_unavailable"),
        ("refuse", 503, "part_unavailable"),
        ("stop", 503, "part_unavailable"),
        ("fill", 429, "wait_too_long"),
    ],
)
def test_without_a_second_replica_the_client_gets_the_true_error(
    pair: Pair, solo: Part, harm: str, status: int, code: str, tmp_path: Path
) -> None:
    harms: dict[str, Callable[[ExitStack], None]] = {
        "kill": lambda stack: kill(solo),
        "stop": lambda stack: stack.enter_context(stopped(solo)),
        "refuse": lambda stack: stack.enter_context(refused(solo, agent=pair.agent("local"))),
        "fill": lambda stack: stack.enter_context(filled(pair.door(solo))),
    }
    with ExitStack() as undo:
        if harm != "kill":
            harms[harm](undo)
        if harm == "fill":
            pair.wait_until_full(solo)
        with crowd(pair.stack, [chat(SOLO, f"gate_file={tmp_path / 'gate'}")]) as asked:
            if harm == "kill":
                eventually(lambda: pair.door(solo).busy()[0] == 1, what="at work")
                kill(solo)
    (answer,) = asked.answers
    assert (answer.status, error_of(answer)["code"]) == (status, code)
    assert int(answer.headers["retry-after"]) >= 1
