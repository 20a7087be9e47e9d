"""Two replicas on two workers: who serves, and that this is told truly."""

import asyncio
import json
import time
from collections import Counter

import pytest

from tests.e2e.crowd import ask_all, chat
from tests.e2e.doors import doors
from tests.e2e.pair import NODES, STURDY, Pair
from tests.e2e.stack import eventually
from tests.faults import filled, kill, stopped
from weft_common.bus import open_bus
from weft_proto.pb.weft.bus.v1 import reports_pb2

pytestmark = pytest.mark.e2e


# Every second replicas say how busy they are, and for two seconds gateways rely on it.
_REPORTS = 2
FORGOTTEN_SECONDS = 2.5
HALVES = {"local": 10, "two": 10}


def split(pair: Pair) -> dict[str, int]:
    """How many of 20 requests at once each node served; none of them ends before the last was sent."""
    answers = ask_all(pair.stack, [chat(STURDY, "tokens=10 delay_ms=80") for _ in range(20)])
    assert all(answer.ok for answer in answers)
    return Counter(answer.headers["x-weft-node"] for answer in answers)


def test_20_requests_at_once_are_split_in_halves_with_and_without_nats(pair: Pair) -> None:
    replicas = pair.ensure(STURDY)
    for _ in range(2):
        pair.wait_until_idle(*replicas.values())
        assert split(pair) == HALVES
    with stopped(pair.stack.part("nats")):
        time.sleep(FORGOTTEN_SECONDS)
        assert [split(pair) for _ in range(2)] == [HALVES, HALVES]


def test_requests_go_where_fewer_are_in_flight_whoever_sent_those(pair: Pair) -> None:
    replicas = pair.ensure(STURDY)
    pair.wait_until_idle(*replicas.values())
    with filled(pair.door(replicas["two"]), 10):
        pair.wait_until_told_busy(replicas["two"], 10)
        assert split(pair) == {"local": 15, "two": 5}


def test_a_gateway_that_was_killed_counts_its_picks_under_a_name_of_its_own(pair: Pair) -> None:
    pair.ensure(STURDY)
    former = pair.stack.part("gateway-0")
    asyncio.run(ask_each_gateway(pair))
    before = asyncio.run(gateways_reported(pair))
    assert len(before) >= 2
    kill(former)
    eventually(lambda: [p for p in pair.stack.parts(former.name) if p.pid != former.pid], what="it back")
    eventually(lambda: pair.stack.part(former.name).state == "ready", what="it ready")
    replicas = pair.ensure(STURDY)
    asyncio.run(ask_each_gateway(pair))
    assert len(asyncio.run(gateways_reported(pair)) - before) == 1
    pair.wait_until_idle(*replicas.values())
    assert split(pair) == HALVES


async def ask_each_gateway(pair: Pair) -> None:
    """By itself Envoy goes on asking one as long as that is well."""
    async with doors(pair.stack) as through, asyncio.timeout(20):
        for gateway in through.gateways:
            while (await through.chat(gateway, pair.stack.key, STURDY, "tokens=1")).refusal:
                await asyncio.sleep(0.1)


async def gateways_reported(pair: Pair) -> set[str]:
    """Whose picks the workers report, as heard on the bus until each has told its whole load."""
    token = json.loads((pair.stack.home / "secrets.json").read_text())["nats_token"]
    address = pair.stack.part("nats").address
    counts: Counter[str] = Counter()
    found: set[str] = set()
    over = asyncio.Event()

    async def take(payload: bytes) -> None:
        report = reports_pb2.LoadReport.FromString(payload)
        counts[report.node_id] += 1
        found.update(pick.gateway_id for entry in report.replicas for pick in entry.picks)
        # A report tells what changed, or everything where nothing did for a second.
        if len(counts) == len(NODES) and min(counts.values()) > _REPORTS:
            over.set()

    async with (
        asyncio.timeout(20),
        open_bus(f"nats://{token}@{address}", name="test") as bus,
        bus.subscribe("weft.load.*", take),
    ):
        await over.wait()
    return found


def test_a_model_is_loaded_and_unloaded_at_a_persons_word(pair: Pair) -> None:
    pair.stack.add_model("asked-for")
    for node in NODES:
        done = pair.stack.weft("load", "asked-for", "--node", node)
        assert (done.returncode, "asked-for is ready at" in done.stdout) == (0, True), done.stderr
    assert set(pair.replicas("asked-for")) == set(NODES)
    done = pair.stack.weft("unload", "asked-for", "--node", "two")
    assert (done.returncode, done.stdout) == (0, "1 replica(s) of asked-for are being unloaded\n")
    eventually(lambda: set(pair.replicas("asked-for")) == {"local"}, what="one replica left")
    answers = ask_all(pair.stack, [chat("asked-for", "tokens=1")] * 8)
    assert {answer.headers["x-weft-node"] for answer in answers} == {"local"}
    assert pair.stack.weft("unload", "asked-for").returncode == 0
    eventually(lambda: not pair.replicas("asked-for"), what="no replica left")
    refused = pair.stack.weft("load", "gpt-5")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The model 'gpt-5' does not exist" in refused.stderr


def test_the_node_header_the_access_log_and_the_replicas_record_agree(pair: Pair) -> None:
    pair.ensure(STURDY)
    answers = ask_all(pair.stack, [chat(STURDY, "tokens=3 delay_ms=5", stream=n % 2 == 0) for n in range(64)])
    told = {answer.headers["x-request-id"]: answer.headers["x-weft-node"] for answer in answers}
    assert len(told) == 64
    assert set(told.values()) == set(NODES)
    assert {record["request_id"]: record["node"] for record in pair.logged(answers)} == told
    served = {
        record.get("request_id"): node
        for node in NODES
        for record in pair.stack.records(f"worker/{node}/log/*.log", "request_ended")
        if record["outcome"] == "ok"
    }
    assert {i: served.get(i) for i in told} == told
