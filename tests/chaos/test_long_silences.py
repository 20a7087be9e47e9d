"""Agents that are gone or silent for longer than the lease, the orphan's age and a node's silence."""

import time

import pytest

from tests.e2e.crowd import ask_all, chat, traffic
from tests.e2e.pair import STURDY, Pair
from tests.e2e.stack import Stack, eventually
from tests.faults import stopped

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


def test_a_replica_whose_agent_never_comes_back_ends_itself(pair: Pair) -> None:
    pair.ensure(STURDY)
    with traffic(pair.stack, chat(STURDY, "tokens=4 delay_ms=20")) as asked:
        pair.two.kill()
        killed = time.monotonic()
        eventually(lambda: "two" not in pair.replicas(STURDY), what="the orphan's end", seconds=150)
        assert 115 < time.monotonic() - killed < 140
    assert asked.failures == []


def test_a_node_that_nobody_hears_is_used_where_there_is_no_other(stack: Stack) -> None:
    assert ask_all(stack, [chat("warm")])[0].ok
    replica = stack.part("replica:local/warm")
    with stopped(stack.part("worker-local")), traffic(stack, chat("warm", "tokens=4 delay_ms=20")) as asked:
        over = time.monotonic() + 50  # silence counts after 30, and is the end after 60
        while time.monotonic() < over:
            assert asked.goes_on(50)
    assert asked.failures == []
    assert stack.part("replica:local/warm") == replica
