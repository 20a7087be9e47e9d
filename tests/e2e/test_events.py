"""What happened and why, as an admin sees it: listed, followed, and never lost or told twice."""

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.e2e.stack import WEFT, Stack, eventually, free_port
from weft_proto.pb.weft.admin.v1 import event_service_pb2 as pb
from weft_proto.pb.weft.types.v1.event_pb2 import EVENT_KIND_NODE

pytestmark = pytest.mark.e2e

_MIB = 1024 * 1024
EVENTS = "/api/events"
WATCH = "/weft.admin.v1.EventService/WatchEvents"
# Room for one of two models, as in test_planner.py.
BUDGET_FOR_ONE = "240MiB"
Event = dict[str, Any]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A machine with room for one of two models, and for no mountain at all."""
    made = Stack(tmp_path_factory.mktemp("events") / "home", free_port())
    for name, mib in (("anvil", 100), ("boulder", 100), ("mountain", 100_000)):
        weights = made.home / "models" / f"{name}.bin"
        weights.parent.mkdir(parents=True, exist_ok=True)
        with weights.open("wb") as file:
            file.truncate(mib * _MIB)
        options = {"memory_mib": "100", "tokens": "2"}
        made.write_model(name, parameters={"model": str(weights)}, options=options, parallel=4)
    made.up(WEFT_MEMORY_BUDGET=BUDGET_FOR_ONE, WEFT_MIN_RESIDENCY="0s", WEFT_HEARTBEAT_INTERVAL="1s")
    yield made
    made.leave()


@pytest.fixture
def admin(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        yield client


class Follower:
    """`weft events --follow --json` beside the test. State: its process, which writes into a file."""

    def __init__(self, stack: Stack, file: Path, *arguments: str) -> None:
        command = [str(WEFT), "events", "--follow", "--json", *arguments]
        self._file = file
        with file.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "WEFT_HOME": str(stack.home)},
                stdout=out,
                stderr=subprocess.DEVNULL,
            )

    def events(self) -> list[Event]:
        lines = self._file.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def whats(self) -> list[str]:
        return [event["what"] for event in self.events()]

    def labels(self) -> list[str]:
        return [event["details"]["labels"] for event in self.events() if event["what"] == "node_labelled"]

    def end(self) -> int:
        """Press Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@pytest.fixture
def follower(stack: Stack, tmp_path: Path) -> Iterator[Follower]:
    """A follower that is known to be at its work."""
    made = Follower(stack, tmp_path / "events")
    eventually(made.events, what="the past told")
    yield made
    assert made.end() == 0


def label(admin: httpx.Client, number: int) -> None:
    """Change a label, as often as it takes."""

    def done() -> bool:
        answer = admin.patch("/api/nodes/local/labels", json={"labels": {"n": str(number)}})
        return answer.status_code == 200

    eventually(done, what="a label changed")


def sequences(events: list[Event]) -> list[int]:
    return [int(event["sequence"]) for event in events]


def killed(events: list[Event]) -> list[Event]:
    """Of replicas that served and are gone, and nobody had asked for that."""
    return [
        event for event in events if event["what"] == "replica_gone" and event["details"]["state"] == "ready"
    ]


def asked(admin: httpx.Client, method: str, path: str, **fields: Any) -> None:
    answer = admin.request(method, path, **fields)
    assert answer.status_code == 200, answer.text


def answered(stack: Stack, model: str) -> None:
    answer = stack.chat(model)
    assert answer.status_code == 200, answer.text


def happen(stack: Stack, admin: httpx.Client) -> None:
    """One of each: a load, an eviction, a drain, a resume, a killed replica, a refusal."""
    for model in ("anvil", "boulder"):
        answered(stack, model)
    asked(admin, "POST", "/api/nodes/local/drain", json={})
    eventually(lambda: not stack.parts("replica:"), what="drained", seconds=20)
    asked(admin, "POST", "/api/nodes/local/resume", json={})
    answered(stack, "anvil")
    stack.part("replica:").kill()
    for _ in range(3):
        assert stack.chat("mountain").status_code == 503


def test_what_happens_is_told_with_its_reason_wherever_one_asks(
    stack: Stack, admin: httpx.Client, follower: Follower
) -> None:
    happen(stack, admin)
    wanted = {
        "node_joined", "load_begun", "load_done", "evicted", "node_drained", "node_resumed", "replica_gone", "refused",
    }  # fmt: skip
    eventually(lambda: wanted <= set(follower.whats()), what=f"{wanted} told", seconds=15)
    eventually(lambda: killed(follower.events()), what="the killed replica told", seconds=15)

    listed = admin.get(EVENTS, params={"page_size": 1000}).json()["events"]
    told = follower.events()
    assert listed[: len(told)] == told
    assert sequences(told) == list(range(1, len(told) + 1))
    assert all(event["why"] and event["source"] == "router-0" and event["time"] for event in told)

    (evicted,) = [event for event in told if event["what"] == "evicted"]
    assert (evicted["model"], evicted["details"]["for_model"]) == ("anvil", "boulder")
    assert "costs least" in evicted["why"]
    (gone,) = killed(told)
    assert (gone["model"], gone["node"]) == ("anvil", "local")
    refused = next(event for event in told if event["what"] == "refused")
    assert (refused["model"], refused["details"]["reason"]) == ("mountain", "NO_CAPACITY")
    assert "it needs" in refused["why"]


def test_filters_take_what_they_name(stack: Stack, admin: httpx.Client) -> None:
    kinds = {"filter.kinds": ["EVENT_KIND_EVICTION", "EVENT_KIND_LOAD"], "filter.model": "boulder"}
    some = admin.get(EVENTS, params=kinds).json()["events"]
    assert [event["what"] for event in some] == ["evicted", "load_begun", "load_done"]
    told = stack.weft("events", "--kind", "eviction,load", "--model", "boulder", "--json", "--since", "10m")
    assert [json.loads(line) for line in told.stdout.splitlines()] == some
    assert stack.weft("events", "--node", "nowhere", "--json").stdout == ""
    last = stack.weft("events", "-n", "1", "--kind", "eviction").stdout.splitlines()
    assert len(last) == 1
    assert "anvil on local" in last[0]
    wrong = stack.weft("events", "--kind", "weather")
    assert (wrong.returncode, "there is no kind 'weather'" in wrong.stderr) == (2, True)
    for params in ({"max_age": "-1s"}, {"page_size": -1}, {"filter.kinds": "WEATHER"}):
        answer = admin.get(EVENTS, params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, 3), answer.text
    assert httpx.get(f"{stack.url}{EVENTS}").status_code == 401


def test_a_stub_follows_over_grpc(stack: Stack) -> None:
    request = pb.WatchEventsRequest(max_age=timedelta(minutes=10))
    request.filter.kinds.append(EVENT_KIND_NODE)
    with grpc.insecure_channel(f"127.0.0.1:{stack.port}") as channel:
        watch = channel.unary_stream(
            WATCH,
            request_serializer=pb.WatchEventsRequest.SerializeToString,
            response_deserializer=pb.WatchEventsResponse.FromString,
        )
        call = watch(request, metadata=[("authorization", f"Bearer {stack.key}")], timeout=10)
        found = [message.event.what for message in itertools.islice(call, 3)]
        call.cancel()
        with pytest.raises(grpc.RpcError) as refused:
            next(watch(request, metadata=[("authorization", "Bearer sk-wrong")], timeout=10))
    assert found == ["node_joined", "node_drained", "node_resumed"]
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    listed = stack.buf_curl("/weft.admin.v1.EventService/ListEvents", "-d", '{"page_size": 1}')
    assert len(json.loads(listed.stdout)["events"]) == 1


def test_what_happens_while_nats_is_away_is_told_in_order_when_it_is_back(
    stack: Stack, admin: httpx.Client, follower: Follower
) -> None:
    stack.part("nats").kill()
    for number in range(20):
        label(admin, number)
    eventually(lambda: len(follower.labels()) == 20, what="all labels told", seconds=15)
    assert follower.labels() == [f"n={number}" for number in range(20)]
    told = sequences(follower.events())
    assert told == list(range(told[0], told[0] + len(told)))


def test_a_follower_outlives_a_router_without_a_gap_or_a_double(
    stack: Stack, admin: httpx.Client, follower: Follower
) -> None:
    label(admin, 100)
    eventually(lambda: "n=100" in follower.labels(), what="the label before")
    stack.part("router-0").kill()
    for number in (101, 102, 103):
        label(admin, number)
    eventually(lambda: "n=103" in follower.labels(), what="the labels after", seconds=20)
    assert follower.labels()[-4:] == [f"n={number}" for number in (100, 101, 102, 103)]
    told = sequences(follower.events())
    assert told == list(range(told[0], told[0] + len(told)))
