"""What comes back by itself: hung, dead and lost replicas, and a fleet whose rows are gone."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from tests.e2e.crowd import Answer, ask_all, chat
from tests.e2e.pair import Pair
from tests.e2e.stack import Part, Stack, eventually, free_port
from tests.faults import filled, kill, refused

pytestmark = pytest.mark.e2e

STOPPED = "its process is stopped"
TIMERS = {
    "WEFT_HEARTBEAT_INTERVAL": "1s",
    "WEFT_NODE_SILENCE": "5s",
    "WEFT_NODE_LOST": "8s",
    "WEFT_HUNG_AFTER": "3s",
    "WEFT_PROBE_INTERVAL": "1s",
    "WEFT_PROBE_RETRY": "1s",
    "WEFT_PROBE_MISSES": "2",
    "WEFT_MAX_REPLICAS_PER_MODEL": "2",
    "WEFT_MEMORY_BUDGET": "2GiB",
}
MIB = 1 << 20
HELD_MIB = 64


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two workers that may run two replicas of a model each, with a model that is kept twice, and two that are not."""
    stack = Stack(tmp_path_factory.mktemp("healing") / "home", free_port())
    for name in ("sure", "lone", "calm"):
        stack.write_model(name, parallel=8, max_queue=100, options={"memory_mib": str(HELD_MIB)})
    stack.up(WEFT_AUTO_APPROVE_NODES="true", WEFT_EXPOSE_NODE_HEADER="true", **TIMERS)
    with stack.second_worker("two", **TIMERS) as two:
        made = Pair(stack, two)
        set_minimum(made, "sure", 2)
        yield made
    stack.leave()


def set_minimum(pair: Pair, model: str, least: int) -> None:
    with pair.stack.client() as client:
        answer = client.post("/api/nodes/scheduling", json={"model_name": model, "min_replicas": least})
    assert answer.status_code == 200, answer.text


def admins(pair: Pair, path: str) -> Any:
    with pair.stack.client() as client:
        return client.get(path).json()


def rows(pair: Pair, model: str) -> list[dict[str, Any]]:
    """The model's replicas as admins see them."""
    return [r for r in admins(pair, "/api/nodes/models")["replicas"] if r["model"] == model]


def ready(pair: Pair, model: str) -> dict[int, dict[str, Any]]:
    """Those of them that serve, by pid."""
    return {
        r["pid"]: r for r in rows(pair, model) if r["state"] == "REPLICA_STATE_READY" and not r["problem"]
    }


def kept_twice(pair: Pair, *, without: int = 0, seconds: float = 20) -> dict[int, dict[str, Any]]:
    """Wait until the model that has to be there twice is, without that process; returns its replicas by pid."""

    def both() -> dict[int, dict[str, Any]]:
        now = ready(pair, "sure")
        return now if len(now) == 2 and without not in now else {}

    found: dict[int, dict[str, Any]] = eventually(both, what="two replicas", seconds=seconds)
    return found


def nodes(pair: Pair) -> dict[str, dict[str, Any]]:
    return {n["name"]: n for n in admins(pair, "/api/nodes")["nodes"]}


def free_bytes(pair: Pair, node: str) -> int:
    return int(nodes(pair)[node]["devices"][-1]["free_memory_bytes"])


def logged(pair: Pair, event: str, replica_id: str) -> list[dict[str, Any]]:
    """What the router says that it saw of, or did to, a replica."""
    return [r for r in pair.stack.records("log/router-*.log", event) if r["replica_id"] == replica_id]


def victim(pair: Pair, model: str, node: str) -> Part:
    """A replica's process, whatever its state."""
    return next(p for p in pair.stack.parts(f"replica:{node}/{model}#"))


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@contextlib.contextmanager
def continued(part: Part) -> Iterator[None]:
    """Leave no process stopped that still lives."""
    try:
        yield
    finally:
        if not is_gone(part.pid):
            part.kill(signal.SIGCONT)


def ask(pair: Pair, model: str, count: int) -> list[Answer]:
    return ask_all(pair.stack, [chat(model, "tokens=2") for _ in range(count)])


def test_hung_replicas_are_told_and_replaced_while_others_serve_and_their_memory_comes_back(
    pair: Pair,
) -> None:
    """One that its policy wants is replaced, another is just ended; nobody who asks notices either."""
    before = kept_twice(pair)
    home = {name: node["id"] for name, node in nodes(pair).items()}
    assert {r["node_id"] for r in before.values()} == set(home.values())
    # Placement goes by how many replicas nodes have before it goes by free bytes: from now on `local` has one more than
    # `two`, however many of those that hang there have gone by the time at which another one is placed.
    pair.stack.load("calm", "local")
    pair.stack.load("lone", "local")
    eventually(lambda: ready(pair, "lone"), what="the lone one")
    free = free_bytes(pair, "two")
    pair.stack.load("lone", "two")
    eventually(lambda: free - free_bytes(pair, "two") >= HELD_MIB * MIB, what="its memory taken")
    wanted, unwanted = victim(pair, "sure", "two"), victim(pair, "lone", "two")
    ids = {r["pid"]: r["id"] for model in ("sure", "lone") for r in rows(pair, model)}
    for part in (wanted, unwanted):
        part.kill(signal.SIGSTOP)
    answers = ask(pair, "sure", 6) + ask(pair, "lone", 6)
    assert [(a.status, a.whole) for a in answers] == [(200, True)] * 12
    assert {a.headers["x-weft-node"] for a in answers} == {"local"}

    eventually(lambda: is_gone(wanted.pid) and is_gone(unwanted.pid), what="both killed", seconds=30)
    for pid in (wanted.pid, unwanted.pid):
        (hung,) = logged(pair, "replica_hung", ids[pid])
        assert (hung["problem"], hung["node"]) == (STOPPED, "two")
        (ended,) = logged(pair, "replica_taken_away", ids[pid])
        assert (ended["verdict"], ended["why"]) == ("HUNG", STOPPED)
    after = kept_twice(pair, without=wanted.pid)
    assert set(before) - set(after) == {wanted.pid}
    (replacement,) = set(after) - set(before)
    assert after[replacement]["node_id"] == home["two"]
    eventually(lambda: free_bytes(pair, "two") >= free - 8 * MIB, what="the memory back")
    assert {n["state"] for n in nodes(pair).values()} == {"NODE_STATE_HEALTHY"}
    eventually(lambda: {a.headers["x-weft-node"] for a in ask(pair, "sure", 8)} == set(home), what="both")


def test_a_hung_replica_is_shown_to_whoever_looks(pair: Pair) -> None:
    """Also one that was stopped as soon as its router knew that it is ready: its agent may not know that yet."""
    pair.stack.load("lone", "two")
    part = victim(pair, "lone", "two")
    part.kill(signal.SIGSTOP)
    with continued(part):
        shown = eventually(lambda: [r for r in rows(pair, "lone") if r["problem"]], what="the problem")
        assert shown[0]["problem"] == STOPPED
        (told,) = (p for p in pair.stack.parts("replica:") if p.pid == part.pid)
        assert told.problem == STOPPED
        assert nodes(pair)["two"]["problems"] == [f"lone#0: {STOPPED}"]
        assert f"two: lone#0: {STOPPED}" in pair.stack.weft("nodes").stdout


def test_a_busy_replica_is_left_alone_and_a_refused_one_goes_after_two_misses(pair: Pair) -> None:
    replica = victim(pair, "sure", "two")
    checks = 4.0  # of them more than would do for any other
    with filled(pair.door(replica)):
        begun = time.monotonic()
        eventually(lambda: time.monotonic() - begun > checks, what="a few checks")
        assert not is_gone(replica.pid)
        assert replica.pid in ready(pair, "sure")
    (row,) = (r for r in rows(pair, "sure") if r["pid"] == replica.pid)
    with refused(replica, agent=pair.agent("two")):
        (told,) = eventually(
            lambda: logged(pair, "replica_taken_away", row["id"]), what="the dead one given up"
        )
        assert told["verdict"] == "LOST"
        assert nodes(pair)["two"]["state"] == "NODE_STATE_HEALTHY"
    kept_twice(pair)


def test_a_killed_worker_costs_no_replica_for_long(pair: Pair) -> None:
    kept_twice(pair)
    lost = victim(pair, "sure", "two")
    pair.two.kill()
    kill(*pair.stack.parts("replica:two/"))
    after = kept_twice(pair, without=lost.pid, seconds=25)
    assert {r["node_id"] for r in after.values()} == {nodes(pair)["local"]["id"]}
    assert [a.status for a in ask(pair, "sure", 4)] == [200] * 4
    pair.two.start()
    assert eventually(lambda: nodes(pair)["two"]["state"] == "NODE_STATE_HEALTHY", what="the worker back")


def test_a_restart_of_everything_without_rows_brings_both_back(pair: Pair) -> None:
    """What still runs is adopted, and what does not is loaded anew."""
    before = kept_twice(pair)
    survivor, lost = sorted(before)
    forget_all_rows(pair)
    stack = pair.stack
    pair.two.kill()
    others = [p for p in stack.parts() if not p.name.startswith(("replica:", "worker-two"))]
    kill(*others)
    os.kill(lost, signal.SIGKILL)
    pair.two.start()
    after = kept_twice(pair, without=lost, seconds=30)
    assert survivor in after
    assert len(nodes(pair)) == 2
    assert [a.status for a in ask(pair, "sure", 4)] == [200] * 4


def forget_all_rows(pair: Pair) -> None:
    """Empty the tables of what the fleet is made of; what admins asked for stays."""
    password = json.loads((pair.stack.home / "secrets.json").read_text())["postgres_password"]
    address = pair.stack.part("postgres").address

    async def empty() -> None:
        connection = await asyncpg.connect(f"postgresql://weft:{password}@{address}/postgres", timeout=10)
        try:
            await connection.execute("TRUNCATE nodes, replicas, loads")
        finally:
            await connection.close()

    asyncio.run(empty())
