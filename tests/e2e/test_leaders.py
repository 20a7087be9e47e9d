"""Routers that lead in `health` and `nodes` are stopped in the middle of what they decide: each thing is done, once.

What the reconciler's leader may do or not is shown in test_routers.py.
"""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import asyncpg
import psutil
import pytest

from tests.e2e.crowd import chat, traffic
from tests.e2e.pair import Pair
from tests.e2e.stack import Part, Stack, eventually, free_port
from tests.e2e.test_healing import continued, is_gone, set_minimum, victim
from tests.faults import Stores, kill, running_stores, stopped

pytestmark = pytest.mark.e2e

TIMERS = {
    "WEFT_HEARTBEAT_INTERVAL": "1s",
    "WEFT_NODE_SILENCE": "6s",
    "WEFT_NODE_LOST": "14s",
    "WEFT_HUNG_AFTER": "3s",
    "WEFT_PROBE_INTERVAL": "1s",
    "WEFT_PROBE_RETRY": "1s",
    "WEFT_PROBE_MISSES": "3",
    "WEFT_MAX_REPLICAS_PER_MODEL": "2",
}
# Leases have the time to live that users have: 4 s.
REPLACED_SECONDS = 5.0
# Four lanes of it are some fifty requests a second; as many as the machine can serve would slow down what is looked at.
STEADY = chat("warm", "tokens=2 delay_ms=30")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with running_stores(tmp_path_factory.mktemp("stores") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def pair(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two routers, two workers, a model that is kept on both of these, and one that is asked all the time."""
    stack = Stack(tmp_path_factory.mktemp("leaders") / "home", free_port())
    for name in ("sure", "warm"):
        stack.write_model(name, parallel=8, max_queue=100)
    stack.up("--routers", "2", WEFT_AUTO_APPROVE_NODES="true", **TIMERS, **stores.environment)
    stack.load("warm", "local")
    with stack.second_worker("two", **TIMERS) as two:
        made = Pair(stack, two)
        set_minimum(made, "sure", 2)
        yield made
    stack.leave()


def lease(stores: Stores, name: str) -> Any:
    """A lease as the database has it, which answers at once whichever router is stopped."""

    async def read() -> Any:
        connection = await asyncpg.connect(stores.environment["WEFT_POSTGRES_URL"], timeout=10)
        try:
            return await connection.fetchrow("SELECT * FROM leases WHERE name = $1", name)
        finally:
            await connection.close()

    return asyncio.run(read())


def admins(pair: Pair, path: str) -> Any:
    """What an admin reads, who asks again where a router that is stopped was asked."""

    def read() -> Any:
        with pair.stack.client() as client:
            answer = client.get(path)
        return answer.status_code == 200 and answer.json()

    return eventually(read, what=path, seconds=20)


def problems(pair: Pair) -> list[str]:
    """What is wrong with replicas of the model that is kept twice."""
    replicas = admins(pair, "/api/nodes/models")["replicas"]
    return [r["problem"] for r in replicas if r["model"] == "sure" and r["problem"]]


def kept_twice(pair: Pair, *, without: int = 0) -> None:
    """Wait until two replicas serve the model that has to be there twice, none of them that process."""

    def pids() -> set[int]:
        replicas = admins(pair, "/api/nodes/models")["replicas"]
        mine = [r for r in replicas if r["model"] == "sure" and not r["problem"]]
        return {r["pid"] for r in mine if r["state"] == "REPLICA_STATE_READY"}

    eventually(lambda: len(pids()) == 2 and without not in pids(), what="two replicas", seconds=30)


def state(pair: Pair) -> str:
    """How the second node is."""
    (node,) = (n for n in admins(pair, "/api/nodes")["nodes"] if n["name"] == "two")
    return str(node["state"]).removeprefix("NODE_STATE_")


def leader(pair: Pair, row: Any) -> Part:
    return pair.stack.part(row["holder"].rpartition("-")[0])


def until_replaced(stores: Stores, before: Any) -> None:
    since = time.monotonic()
    eventually(
        lambda: lease(stores, before["name"])["epoch"] > before["epoch"], what="another leader", seconds=10
    )
    took = time.monotonic() - since
    print(f"another leader in {before['name']} after {took:.2f} s")
    assert took <= REPLACED_SECONDS


def told(pair: Pair, event: str) -> list[dict[str, Any]]:
    """What routers say that they did."""
    return pair.stack.records("log/router-*.log", event)


def until_awake(stores: Stores, before: Any) -> None:
    """Wait until the former leader has tried to go on, which is refused."""
    name = before["name"]
    eventually(lambda: lease(stores, name)["refused_count"] > before["refused_count"], what="a refusal")
    ticks = time.monotonic() + 3.0  # for whatever it may have had in mind
    eventually(lambda: time.monotonic() > ticks)


def started(pair: Pair) -> int:
    """How many processes workers have begun, ever."""
    return len(pair.stack.records("log/worker-*.log", "backend_started"))


def test_a_stopped_leader_in_health_is_replaced_and_what_hangs_is_taken_away_once(
    pair: Pair, stores: Stores
) -> None:
    kept_twice(pair)
    taken, begun = len(told(pair, "replica_taken_away")), started(pair)
    assert begun >= 3
    hanging, before = victim(pair, "sure", "two"), lease(stores, "health")
    with traffic(pair.stack, STEADY) as asked, continued(hanging):
        hanging.kill(signal.SIGSTOP)
        eventually(lambda: problems(pair), what="the problem told")
        with stopped(leader(pair, before)):
            until_replaced(stores, before)
            eventually(lambda: is_gone(hanging.pid), what="the hung one killed", seconds=30)
            kept_twice(pair, without=hanging.pid)
        until_awake(stores, before)
    assert asked.failures == []
    kept_twice(pair, without=hanging.pid)
    (record,) = told(pair, "replica_taken_away")[taken:]
    assert record["verdict"] == "HUNG"
    assert started(pair) == begun + 1


def test_a_stopped_leader_in_nodes_is_replaced_and_a_lost_node_is_given_up_once_and_comes_back(
    pair: Pair, stores: Stores
) -> None:
    kept_twice(pair)
    before = lease(stores, "nodes")
    known, gone = len(told(pair, "node_state")), len(told(pair, "replicas_unreachable"))
    with traffic(pair.stack, STEADY) as asked:
        pair.two.kill()
        kill(*pair.stack.parts("replica:two/"))
        eventually(lambda: state(pair) == "UNHEALTHY", what="silent", seconds=15)
        with stopped(leader(pair, before)):
            until_replaced(stores, before)
            eventually(lambda: state(pair) == "OFFLINE", what="given up", seconds=30)
            pair.two.start()
            eventually(lambda: state(pair) == "HEALTHY", what="back", seconds=30)
        until_awake(stores, before)
    assert asked.failures == []
    assert state(pair) == "HEALTHY"
    changes = Counter(r["state"] for r in told(pair, "node_state")[known:] if r["node"] == "two")
    # It is back once: as it registers, which tells nothing, or by a heartbeat that came before.
    assert changes.pop("healthy", 0) <= 1
    assert changes == {"unhealthy": 1, "offline": 1}
    assert len(told(pair, "replicas_unreachable")) - gone <= 1
    kept_twice(pair)


def test_a_leader_in_health_that_cannot_connect_to_anybody_leaves_the_lease_and_takes_nothing_away(
    pair: Pair, stores: Stores
) -> None:
    kept_twice(pair)
    taken, stepped = len(told(pair, "replica_taken_away")), len(told(pair, "leader_stepped_down"))
    before, pids = lease(stores, "health"), {part.pid for part in pair.stack.parts("replica:")}
    with starved(leader(pair, before)):
        eventually(
            lambda: lease(stores, "health")["epoch"] > before["epoch"], what="another leader", seconds=20
        )
        assert lease(stores, "health")["holder"] != before["holder"]
        (record,) = told(pair, "leader_stepped_down")[stepped:]
        assert (record["lease"], record["epoch"]) == ("health", before["epoch"])
        misses = time.monotonic() + 4.0  # more than take a replica away
        eventually(lambda: time.monotonic() > misses)
    assert len(told(pair, "replica_taken_away")) == taken
    assert {part.pid for part in pair.stack.parts("replica:")} == pids


@contextlib.contextmanager
def starved(part: Part) -> Iterator[None]:
    """Leave a process the file descriptors that it has, and no more."""
    process = psutil.Process(part.pid)
    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
