"""Stores and agents go away, for longer than any timer waits: warm models answer on, and all heals by itself."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.crowd import ask_all, chat, traffic
from tests.e2e.stack import Stack, eventually, free_port
from tests.faults import Stores, kill, paused, running_stores, slowed, stopped

pytestmark = pytest.mark.e2e

# A tenth of the real ones; the outages last a tenth of 90 s. tests/chaos has the real ones.
TIMERS = {
    "WEFT_HEARTBEAT_INTERVAL": "1s",
    "WEFT_NODE_SILENCE": "3s",
    "WEFT_LEASE": "3s",
    "WEFT_ORPHAN": "12s",
    "WEFT_SNAPSHOT_LIFETIME": "60s",
    "WEFT_TICKET_LIFETIME": "12s",
}
OUTAGE_SECONDS = 9.0
WARM = chat("warm", "tokens=4 delay_ms=10")
COLD = ("cold-0", "cold-1", "cold-2")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with running_stores(tmp_path_factory.mktemp("stores") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def far(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose stores are elsewhere, with a warm model and some that nobody has loaded."""
    made = Stack(tmp_path_factory.mktemp("far") / "home", free_port())
    for name in ("warm", *COLD):
        made.write_model(name, parallel=8)
    made.up(**TIMERS, **stores.environment)
    assert ask_all(made, [WARM])[0].ok
    yield made
    made.leave()


def pids(stack: Stack, *prefixes: str) -> dict[str, int]:
    return {part.name: part.pid for prefix in prefixes for part in stack.parts(prefix)}


def states(stack: Stack, prefix: str) -> list[str]:
    return [part.state for part in stack.parts(prefix)]


def refusal_of(stack: Stack, model: str) -> str:
    """What a request for a model that cannot be loaded is told."""
    (answer,) = ask_all(stack, [chat(model)])
    assert answer.status == 503
    assert "retry-after" in answer.headers
    error = json.loads(answer.body)["error"]
    assert error["code"] == "part_unavailable"
    message: str = error["message"]
    return message


def assert_healed(stack: Stack, cold: str) -> None:
    """A model that could not be loaded can be, and every part is ready."""
    eventually(lambda: ask_all(stack, [chat(cold, "tokens=1")])[0].ok, what=f"{cold} loaded", seconds=20)
    eventually(lambda: all(part.state == "ready" for part in stack.parts()), what="all ready")


@pytest.mark.parametrize(
    ("how", "cold", "seconds"), [("swallowed", "cold-0", OUTAGE_SECONDS), ("refused", "cold-1", 4.0)]
)
def test_both_stores_are_gone_for_longer_than_every_timer(
    far: Stack, stores: Stores, how: str, cold: str, seconds: float
) -> None:
    before = pids(far, "router-", "gateway-1", "worker-", "replica:")
    eventually(lambda: len(far.gateways_asked()) == 2, what="Envoy asking both")
    with traffic(far, WARM) as asked:
        with ExitStack() as cut:
            over = time.monotonic() + seconds
            for link in (stores.postgres, stores.nats):
                cut.enter_context(getattr(link, how)())
            kill(far.part("gateway-0"))
            assert "PostgreSQL" in refusal_of(far, cold)
            while time.monotonic() < over:
                assert asked.goes_on()
            eventually(lambda: pids(far, "gateway-0"), what="gateway-0 back")
        assert asked.goes_on()
        assert_healed(far, cold)
        assert asked.goes_on()
    assert asked.failures == []
    assert pids(far, "router-", "gateway-1", "worker-", *before).items() >= before.items()


def test_without_nats_a_cold_model_is_refused_in_its_name(far: Stack, stores: Stores) -> None:
    with stores.nats.refused():
        assert "NATS" in refusal_of(far, "cold-2")
        assert ask_all(far, [WARM])[0].ok
    assert_healed(far, "cold-2")


def test_restarts_of_a_router_without_its_database_stop_no_replica(far: Stack, stores: Stores) -> None:
    running = pids(far, "replica:")
    with traffic(far, WARM) as asked:
        kill(far.part("router-0"))
        eventually(lambda: states(far, "router-0") == ["ready"], what="the router back")
        with stores.postgres.refused():
            assert asked.goes_on()
            kill(far.part("router-0"), *far.parts("gateway-"))
            eventually(lambda: states(far, "gateway-") == ["ready"] * 2, what="gateways back")
            eventually(lambda: len(far.gateways_asked()) == 2, what="Envoy asking both")
            eventually(lambda: ask_all(far, [WARM])[0].ok, what="an answer")
            asked.forget()  # with every gateway gone at once there is nobody to ask
            several_heartbeats = time.monotonic() + 3.5
            while time.monotonic() < several_heartbeats:
                assert asked.goes_on(), asked.failures
            assert states(far, "router-0") == ["starting"]
        eventually(lambda: states(far, "router-0") == ["ready"], what="the router whole again")
        assert asked.goes_on(50)
    assert asked.failures == []
    assert pids(far, "replica:") == running
    assert not far.records("log/worker-local.log", "replica_stopping")


def test_stores_and_parts_that_are_slow_cost_no_request(far: Stack, stores: Stores) -> None:
    with traffic(far, WARM) as asked, ExitStack() as slow:
        for link in (stores.postgres, stores.nats):
            slow.enter_context(link.slowed(0.5))
        for name in ("router-0", "gateway-0", "worker-local"):
            slow.enter_context(slowed(far.part(name), share=0.3))
        slow.enter_context(paused(far.part("gateway-1"), seconds=1.5))
        over = time.monotonic() + 3
        while time.monotonic() < over:
            assert asked.goes_on()
    assert asked.failures == []


def test_a_silent_node_that_works_is_used_where_there_is_no_other(far: Stack) -> None:
    assert ask_all(far, [WARM])[0].ok
    replica = far.part("replica:local/warm")
    with stopped(far.part("worker-local")), traffic(far, WARM) as asked:
        over = (
            time.monotonic() + 8
        )  # silence counts after 3, the lease of an agent that died would end after 3, too
        while time.monotonic() < over:
            counted, since = len(asked.answers), time.monotonic()
            assert asked.goes_on(20)
            assert (len(asked.answers) - counted) / (time.monotonic() - since) > 10, "it works at a crawl"
    assert asked.failures == []
    assert far.part("replica:local/warm") == replica
