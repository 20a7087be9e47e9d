"""Ninety seconds without PostgreSQL and NATS, with the real timers."""

import json
import time

import pytest

from tests.e2e.crowd import ask_all, chat, traffic
from tests.e2e.stack import Stack, eventually
from tests.faults import Stores, kill, stopped

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

OUTAGE_SECONDS = 90.0
WARM = chat("warm", "tokens=4 delay_ms=20")


def assert_refused_by_name(stack: Stack) -> None:
    (answer,) = ask_all(stack, [chat("cold")])
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (503, "part_unavailable")
    assert "PostgreSQL" in error["message"] or "NATS" in error["message"]


def assert_healed(stack: Stack) -> None:
    eventually(lambda: ask_all(stack, [chat("cold", "tokens=1")])[0].ok, what="cold loaded", seconds=30)
    eventually(lambda: all(part.state == "ready" for part in stack.parts()), what="all ready", seconds=30)


def test_stopped_stores_and_a_killed_gateway(stack: Stack) -> None:
    assert ask_all(stack, [WARM])[0].ok
    before = {part.name: part.pid for part in stack.parts() if part.name != "gateway-0"}
    over = time.monotonic() + OUTAGE_SECONDS
    with traffic(stack, WARM) as asked:
        with stopped(stack.part("postgres"), stack.part("nats")):
            while time.monotonic() < over - OUTAGE_SECONDS / 2:
                assert asked.goes_on(50)
            kill(stack.part("gateway-0"))
            assert_refused_by_name(stack)
            while time.monotonic() < over:
                assert asked.goes_on(50)
        assert_healed(stack)
    assert asked.failures == []
    after = {part.name: part.pid for part in stack.parts()}
    assert after.items() >= before.items()


def test_stores_that_refuse_and_everything_else_started_anew(far: Stack, stores: Stores) -> None:
    assert ask_all(far, [WARM])[0].ok
    replica = far.part("replica:local/warm")
    over = time.monotonic() + OUTAGE_SECONDS
    with stores.postgres.refused(), stores.nats.refused():
        time.sleep(OUTAGE_SECONDS / 3)
        kill(*far.parts("gateway-"), *far.parts("router-"), *far.parts("worker-"))
        eventually(lambda: [p.state for p in far.parts("gateway-")] == ["ready"] * 2, what="gateways back")
        with traffic(far, WARM) as asked:
            while time.monotonic() < over:
                assert asked.goes_on(50)
        assert_refused_by_name(far)
    with traffic(far, WARM) as still_asked:
        assert_healed(far)
    assert asked.failures + still_asked.failures == []
    assert far.part("replica:local/warm") == replica
