"""Two routers: the one that leads is killed, stopped or cut off, and each decision has one effect all the same."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import repeat
from typing import Any

import asyncpg
import pytest

from tests.e2e.crowd import ask_all, chat, crowd, traffic
from tests.e2e.stack import Part, Stack, eventually, free_port
from tests.faults import Stores, kill, paused, running_stores, stopped
from weft_proto.pb.weft.types.v1 import policy_pb2 as pb

pytestmark = pytest.mark.e2e

# Leases have the time to live that users have: 4 s.
TIMERS = {"WEFT_HEARTBEAT_INTERVAL": "1s", "WEFT_MAX_REPLICAS_PER_MODEL": "2"}
GROWING, SHRINKING = ("up-0", "up-1"), ("down-0", "down-1")
# Enough for each router to come first for one of them.
COLD = tuple(f"cold-{n}" for n in range(8))
REPLACED_SECONDS = 5.0
# Four lanes of it are some fifty requests a second; as many as the machine can serve would slow down what is looked at.
STEADY = chat("warm", "tokens=2 delay_ms=30")
FLEET_LOCK = 0x57454655
_EPOCH = "SELECT epoch FROM leases WHERE name = 'reconciler'"
_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with running_stores(tmp_path_factory.mktemp("stores") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def fleet(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("routers") / "home", free_port())
    for name in ("warm", "news", *COLD, *GROWING, *SHRINKING):
        made.write_model(name, parallel=4)
    made.up("--routers", "2", **TIMERS, **stores.environment)
    assert made.chat("warm", "tokens=1").status_code == 200
    yield made
    made.leave()


def lease(stack: Stack) -> Any:
    """The reconciler's lease as `weft leases` shows it, whichever router answers; none leads at once after a start."""

    def read() -> Any:
        with stack.client() as client:
            answer = client.get("/api/leases")
        rows = answer.json()["leases"] if answer.status_code == 200 else ()
        return next((row for row in rows if row["name"] == "reconciler"), None)

    return eventually(read, what="the reconciler's lease")


def seconds_of_a_read(stack: Stack) -> float:
    """How long an admin waits for an answer, whichever router is asked first."""
    since = time.monotonic()
    with stack.client() as client:
        assert client.get("/api/nodes").status_code == 200
    return time.monotonic() - since


def seconds_of_a_write(stack: Stack) -> float:
    """How long an admin waits for something to be done; endless where it is not done."""
    since = time.monotonic()
    with stack.client() as client:
        answer = client.post("/api/nodes/scheduling", json={"model_name": "news"})
    assert answer.status_code in (200, 503), answer.text
    return time.monotonic() - since if answer.status_code == 200 else float("inf")


def leader(stack: Stack) -> Part:
    """The router that leads the reconciler."""
    holder: str = eventually(lambda: lease(stack)["holder"], what="a leader")
    return stack.part(holder.rpartition("-")[0])


def until_replaced(stores: Stores, epoch: int, since: float) -> None:
    """Wait for another leader, and no longer than is promised; asks the database, which answers at once."""
    asyncio.run(_until_epoch(stores, epoch + 1))
    took = time.monotonic() - since
    print(f"another leader after {took:.2f} s")
    assert took <= REPLACED_SECONDS


async def _until_epoch(stores: Stores, epoch: int) -> None:
    connection = await asyncpg.connect(stores.environment["WEFT_POSTGRES_URL"])
    async with asyncio.timeout(2 * REPLACED_SECONDS):
        while await connection.fetchval(_EPOCH) < epoch:
            await asyncio.sleep(0.02)
    await connection.close()


def set_policy(stack: Stack, model: str, **fields: Any) -> None:
    """As an admin does it who tries again: a router that is stopped just then does not answer."""

    def done() -> bool:
        with stack.client() as client:
            answer = client.post("/api/nodes/scheduling", json={"model_name": model, **fields})
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    eventually(done, what=f"the policy of {model}")


def demand(stack: Stack) -> None:
    """One replica of each model: those that grow have none, those that shrink have two."""
    for model in GROWING:
        set_policy(stack, model, min_replicas=1)
    for model in SHRINKING:
        set_policy(stack, model, max_replicas=1)


def replicas(stack: Stack) -> Counter[str]:
    """How many replicas each of the models has."""
    names = (p.name.partition("/")[2].partition("#")[0] for p in stack.parts("replica:"))
    return Counter(name for name in names if name in (*GROWING, *SHRINKING))


def effects(stack: Stack) -> Counter[str]:
    """How many processes the worker started and was told to stop, ever."""
    records = stack.records("log/worker-local.log")
    kinds = ("backend_started", "replica_stopping")
    return Counter(str(r["event"]) for r in records if r["event"] in kinds)


def is_at_start(stack: Stack) -> bool:
    """Whether what grows has no replica and what shrinks has two, after having done what is missing of that."""
    found = replicas(stack)
    with stack.client() as client:
        for model in GROWING:
            if found[model]:
                client.post("/api/nodes/models/unload", json={"model_name": model, "force": True})
    missing = [model for model in SHRINKING for _ in range(2 - found[model])]
    with ThreadPoolExecutor(4) as at_once:
        list(at_once.map(stack.load, missing, repeat("local")))
    return replicas(stack) == Counter(dict.fromkeys(SHRINKING, 2))


@contextmanager
def decisions(stack: Stack) -> Iterator[None]:
    """Two loads and two stops become due; when the block is left, each must have happened once."""
    for model in (*GROWING, *SHRINKING):
        set_policy(stack, model)
    # A leader that has not heard of that yet may still do what the former policies want.
    eventually(lambda: is_at_start(stack), what="two replicas of each that shrinks", seconds=30)
    before = effects(stack)
    yield
    once = Counter([*GROWING, *SHRINKING])
    eventually(
        lambda: replicas(stack) == once, what=f"one replica of each model: {replicas(stack)}", seconds=20
    )
    ticks = time.monotonic() + 1.5  # of whoever leads, and of whoever believes to
    while time.monotonic() < ticks:
        assert replicas(stack) == once
        time.sleep(0.02)
    assert effects(stack) - before == {"backend_started": 2, "replica_stopping": 2}


def test_a_leader_that_is_stopped_for_ten_seconds_is_replaced_and_harms_nothing_when_it_wakes(
    fleet: Stack, stores: Stores
) -> None:
    before = lease(fleet)
    with decisions(fleet), traffic(fleet, STEADY) as asked:
        first = leader(fleet)
        for model in (GROWING[0], SHRINKING[0]):
            set_policy(fleet, model, min_replicas=1, max_replicas=1)
        since = time.monotonic()
        with paused(first, seconds=10), ThreadPoolExecutor(1) as beside:
            replaced = beside.submit(until_replaced, stores, int(before["epoch"]), since)
            assert max(seconds_of_a_read(fleet) for _ in range(8)) < REPLACED_SECONDS
            for model in (GROWING[1], SHRINKING[1]):
                set_policy(fleet, model, min_replicas=1, max_replicas=1)
            replaced.result()
            assert leader(fleet) != first
            eventually(lambda: time.monotonic() - since >= 10, seconds=11)
        eventually(
            lambda: int(lease(fleet)["refused_count"]) > int(before["refused_count"]), what="a refusal"
        )
    assert asked.failures == []
    shown = fleet.weft("leases")
    assert shown.returncode == 0, shown.stderr
    print(shown.stdout)
    (shown_lease,) = [line.split() for line in shown.stdout.splitlines() if "reconciler" in line]
    assert int(shown_lease[-1]) > int(before["refused_count"])


def test_a_leader_that_is_killed_is_replaced_and_its_loads_are_finished_once(
    fleet: Stack, stores: Stores
) -> None:
    with decisions(fleet):
        before = lease(fleet)
        demand(fleet)
        kill(leader(fleet))
        until_replaced(stores, int(before["epoch"]), time.monotonic())


def test_a_leader_that_is_cut_off_from_the_database_is_replaced_and_harms_nothing_when_it_is_back(
    fleet: Stack, stores: Stores
) -> None:
    with decisions(fleet):
        before = lease(fleet)
        first = leader(fleet)
        demand(fleet)
        with stores.postgres.held(first.pid):
            until_replaced(stores, int(before["epoch"]), time.monotonic())
            assert leader(fleet) != first


def owner(stack: Stack, model: str) -> str:
    """The router that gateways ask first for a model: the highest of the hashes over its address and the model."""
    routers = {part.address: part.name for part in stack.parts("router-")}
    return routers[min(routers, key=lambda at: hashlib.sha256(f"{at}/{model}".encode()).digest())]


@pytest.mark.parametrize(("name", "links"), [("router-0", ("postgres",)), ("router-1", ("postgres", "nats"))])
def test_a_router_that_is_cut_off_leaves_its_work_to_the_other_one(
    fleet: Stack, stores: Stores, name: str, links: tuple[str, ...]
) -> None:
    cold = [model for model in COLD if owner(fleet, model) == name][:2]
    assert cold
    victim, log = fleet.part(name), f"log/{name}.log"
    ready, cut_off = (len(fleet.records(log, event)) for event in ("router_ready", "router_cut_off"))
    with traffic(fleet, STEADY) as asked:
        with ExitStack() as cut:
            for link in links:
                cut.enter_context(getattr(stores, link).held(victim.pid))
            # It does not know itself yet that it is cut off; whoever asks it first gets what the other one can do.
            with (
                ThreadPoolExecutor(4) as admins,
                crowd(fleet, [chat(model, "tokens=1") for model in cold]) as first,
            ):
                writes = [admins.submit(seconds_of_a_write, fleet) for _ in range(4)]
            assert [answer.body for answer in first.answers if not answer.ok] == []
            # Two seconds until it knows, and as long for what it was writing; the rest is for a slow machine.
            assert max(write.result() for write in writes) < 10
            fleet.write_model(f"new-{name}", parallel=4)
            eventually(
                lambda: ask_all(fleet, [chat(f"new-{name}", "tokens=1")])[0].ok,
                what="a new model",
                seconds=15,
            )
            eventually(
                lambda: len(fleet.records(log, "router_cut_off")) > cut_off, what="its own word", seconds=15
            )
            eventually(lambda: seconds_of_a_write(fleet) < 1, what="Envoy asking the other one only")
            for _ in range(6):
                assert seconds_of_a_write(fleet) < 3
                assert seconds_of_a_read(fleet) < 3
        assert asked.goes_on(50)
    assert asked.failures == []
    eventually(lambda: len(fleet.records(log, "router_ready")) > ready, what="the router back", seconds=15)


def test_a_leader_that_is_cut_off_from_nats_leaves_its_decisions_to_a_router_that_is_not(
    fleet: Stack, stores: Stores
) -> None:
    with decisions(fleet):
        first = leader(fleet)
        with stores.nats.held(first.pid):
            # Four seconds until it is noticed, and as long as a term before it counts.
            eventually(lambda: leader(fleet) != first, what="a leader with NATS", seconds=15)
            demand(fleet)
            once = Counter([*GROWING, *SHRINKING])
            eventually(lambda: replicas(fleet) == once, what="replicas as demanded", seconds=20)


def test_what_a_stopped_leader_was_about_to_write_is_refused(fleet: Stack, stores: Stores) -> None:
    """It is stopped for sure between a decision and its write: the write waits for a lock of the test's."""
    with decisions(fleet):
        before = lease(fleet)
        first = leader(fleet)
        log = f"log/{first.name}.log"
        known = len(fleet.records(log, "effect_refused"))
        asyncio.run(_stop_in_the_middle(fleet, stores, first))
        # The renewal of its term, and what it was about to write.
        count = int(before["refused_count"]) + 2
        eventually(lambda: int(lease(fleet)["refused_count"]) >= count, what="refusals")
        demand(fleet)
    (refused,) = fleet.records(log, "effect_refused")[known:]
    assert (refused["lease"], refused["effect"]) == ("reconciler", f"to grow {GROWING[0]}")
    assert int(lease(fleet)["refused_count"]) == count


async def _stop_in_the_middle(fleet: Stack, stores: Stores, first: Part) -> None:
    connection = await asyncpg.connect(stores.environment["WEFT_POSTGRES_URL"])
    epoch = await connection.fetchval(_EPOCH)
    try:
        await _lock_out(connection, fleet, first)
        with stopped(first):
            # What the database's clock would do in four seconds.
            await connection.execute(
                "UPDATE leases SET expire_time = clock_timestamp() WHERE name = 'reconciler'"
            )
            await _until_epoch(stores, epoch + 1)
            await connection.execute("SELECT pg_advisory_unlock($1)", FLEET_LOCK)
    finally:
        await connection.close()


async def _lock_out(connection: asyncpg.Connection, fleet: Stack, first: Part) -> None:
    """Have the leader decide on one thing whose write has to wait.

    The wish is written under the lock, past the routers: however fast or slow the leader is, what it decides then
    comes too late, and there is nothing else for it to decide.
    """
    log, model = f"log/{first.name}.log", GROWING[0]

    def begun() -> list[object]:
        return [record for record in fleet.records(log, "reconciling") if record["model"] == model]

    known = len(begun())
    await connection.execute("SELECT pg_advisory_lock($1)", FLEET_LOCK)
    await connection.execute(
        "UPDATE policies SET description = $2, sequence = nextval('fleet_sequence') WHERE model = $1",
        model,
        pb.Policy(model_name=model, min_replicas=1).SerializeToString(),
    )
    async with asyncio.timeout(20):
        while len(begun()) == known or not await connection.fetchval(_WAITING):
            await asyncio.sleep(0.02)


def test_gateways_leave_a_stopped_router_and_learn_from_the_other_one(fleet: Stack) -> None:
    """What they know then they know from its watch: it is stopped as well when they are asked."""
    set_policy(fleet, "news")
    routers = {part.name: part for part in fleet.parts("router-")}
    with ExitStack() as undo, traffic(fleet, STEADY) as asked:
        # Gateways begin with the first router.
        undo.enter_context(stopped(routers["router-0"]))
        since = time.monotonic()
        fleet.load("news", "local")
        eventually(lambda: time.monotonic() - since >= REPLACED_SECONDS)
        with stopped(routers["router-1"]):
            assert [a.ok for a in ask_all(fleet, [chat("news", "tokens=1")] * 8)] == [True] * 8
            # Those that cannot watch any router come back to the one that slept, and do not believe what is older.
            undo.close()
            eventually(lambda: time.monotonic() - since >= 2 * REPLACED_SECONDS + 2)
            assert [a.ok for a in ask_all(fleet, [chat("news", "tokens=1")] * 8)] == [True] * 8
    assert asked.failures == []
