"""Two replicas on two workers: who serves, and that this is told truly."""

from collections import Counter

import pytest

from tests.e2e.crowd import ask_all, chat
from tests.e2e.pair import NODES, STURDY, Pair
from tests.e2e.stack import eventually
from tests.faults import filled, stopped

pytestmark = pytest.mark.e2e


def split(pair: Pair) -> dict[str, int]:
    """How many of 20 requests at once each node served."""
    answers = ask_all(pair.stack, [chat(STURDY, "tokens=4 delay_ms=50") for _ in range(20)])
    assert all(answer.ok for answer in answers)
    return Counter(answer.headers["x-weft-node"] for answer in answers)


def halves_in_a_row(pair: Pair) -> bool:
    """Chance alone would give halves in 1 of 6 tries, and three in a row in 1 of 180."""
    return all(split(pair) == {"local": 10, "two": 10} for _ in range(3))


def test_20_requests_at_once_are_split_in_halves_with_and_without_nats(pair: Pair) -> None:
    pair.ensure(STURDY)
    # A burst that comes right after another one meets reports of that one, so not every one is split in halves.
    eventually(lambda: halves_in_a_row(pair), what="halves", seconds=20)
    with stopped(pair.stack.part("nats")):
        eventually(lambda: halves_in_a_row(pair), what="halves without NATS", seconds=20)


def test_requests_go_where_fewer_are_in_flight_whoever_sent_those(pair: Pair) -> None:
    replica = pair.ensure(STURDY)["two"]
    with filled(pair.door(replica), 10):
        eventually(lambda: split(pair) == {"local": 15, "two": 5}, what="15 at each", seconds=20)


def test_the_node_header_the_access_log_and_the_replicas_record_agree(pair: Pair) -> None:
    pair.ensure(STURDY)
    answers = ask_all(pair.stack, [chat(STURDY, "tokens=3 delay_ms=5", stream=n % 2 == 0) for n in range(64)])
    told = {answer.headers["x-request-id"]: answer.headers["x-weft-node"] for answer in answers}
    assert len(told) == 64
    assert set(told.values()) == set(NODES)
    assert {record["request_id"]: record["node"] for record in pair.logged(answers)} == told
    served = {
        record["request_id"]: node
        for node in NODES
        for record in pair.stack.records(f"worker/{node}/log/*.log", "request_ended")
        if record["outcome"] == "ok"
    }
    assert {i: served.get(i) for i in told} == told
