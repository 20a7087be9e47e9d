"""The life of a node, through Envoy as admins and workers live it, with short timers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.crowd import ask_all, chat
from tests.e2e.stack import Stack, Worker, eventually, free_port

pytestmark = pytest.mark.e2e

TIMERS = {
    "WEFT_HEARTBEAT_INTERVAL": "1s",
    "WEFT_NODE_SILENCE": "2s",
    "WEFT_NODE_LOST": "4s",
    "WEFT_LEASE": "3s",
    "WEFT_ORPHAN": "12s",
}
MODEL = "steady"


class Stranger(Worker):
    """A worker that nobody may have let in yet."""

    def _ready(self) -> bool:
        return any(part.state in ("starting", "ready") for part in self._stack.parts(f"worker-{self._name}"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("nodes") / "home", free_port())
    made.write_model(MODEL, parallel=4, max_queue=16)
    made.up(WEFT_EXPOSE_NODE_HEADER="true", **TIMERS)
    yield made
    made.leave()


@pytest.fixture(scope="module")
def two(stack: Stack) -> Iterator[Stranger]:
    worker = Stranger(stack, "two", TIMERS)
    worker.start()
    yield worker
    worker.end()


def call(stack: Stack, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
    with stack.client() as client:
        answer = client.request(method, f"/api/nodes{path}", json=body)
    assert answer.status_code == expect, answer.text
    return answer.json() if answer.content else {}


def node(stack: Stack, name: str = "two") -> Any:
    return call(stack, "GET", f"/{name}")["node"]


def state(stack: Stack, name: str = "two") -> str:
    found: str = node(stack, name)["state"]
    return found.removeprefix("NODE_STATE_").lower()


def replicas(stack: Stack) -> list[str]:
    return [r["model"] for r in call(stack, "GET", "/two/models")["replicas"]]


def registered(stack: Stack) -> bool:
    return any(n["name"] == "two" for n in call(stack, "GET", "")["nodes"])


def joined(stack: Stack) -> bool:
    """Whether the worker was given what it needs to work: the bus, and the key of tickets."""
    file = stack.home / "worker/two/membership.json"
    # A router knows a node a moment before the node knows what it was answered.
    membership = json.loads(eventually(lambda: file.exists() and file.read_text(), what="an answer"))
    return bool(membership["mesh_secret"] and membership["nats_url"])


def test_a_pending_node_gets_nothing_until_it_is_approved_and_then_serves(
    stack: Stack, two: Stranger
) -> None:
    eventually(lambda: registered(stack), what="two registered")
    assert state(stack) == "pending"
    assert not joined(stack)
    refused = call(stack, "POST", "/two/drain", expect=409)
    assert refused["details"][0]["reason"] == "NODE_STATE"
    load = {"model_name": MODEL, "node": "two"}
    call(stack, "POST", "/models/load", load, expect=503)
    assert stack.weft("nodes", "approve", "two").stdout == "two is healthy\n"
    eventually(lambda: joined(stack), what="two at work")
    call(stack, "POST", "/models/load", load)
    (answer,) = ask_all(stack, [chat(MODEL, "tokens=1")])
    assert (answer.ok, answer.headers["x-weft-node"]) == (True, "two")


def test_a_drain_lets_a_stream_end_and_a_resumed_node_serves_again(stack: Stack, two: Stranger) -> None:
    prompt = {"messages": [{"role": "user", "content": "tokens=30 delay_ms=100"}]}
    with stack.stream(MODEL, **prompt) as pieces:
        first = next(pieces)
        call(stack, "POST", "/two/drain")
        (other,) = ask_all(stack, [chat(MODEL, "tokens=1")])
        assert (other.ok, other.headers["x-weft-node"]) == (True, "local")
        whole = first + b"".join(pieces)
    assert whole.endswith(b"data: [DONE]\n\n")
    eventually(lambda: replicas(stack) == [], what="nothing left on two")
    assert state(stack) == "draining"
    call(stack, "POST", "/two/resume")
    assert state(stack) == "healthy"
    call(stack, "POST", "/models/load", {"model_name": MODEL, "node": "two"})


@pytest.mark.parametrize(
    ("method", "order", "body"),
    [
        ("POST", "drain", {}),
        ("POST", "resume", {}),
        ("POST", "approve", {}),
        ("PUT", "labels", {"labels": {"a": "b"}}),
        ("PATCH", "labels", {"labels": {"a": "b"}}),
        ("PUT", "max-replicas-per-model", {"value": 2}),
    ],
)
def test_the_path_says_which_node_is_meant(
    stack: Stack, two: Stranger, method: str, order: str, body: dict[str, Any]
) -> None:
    refused = call(stack, method, f"/two/{order}", body | {"id": "local"}, expect=400)
    assert refused["details"][0]["reason"] == "INVALID_REQUEST"
    assert refused["message"].startswith("id: ")
    assert (state(stack, "local"), "a" in node(stack, "local")["labels"]) == ("healthy", False)


def test_the_path_says_where_a_model_is_unloaded(stack: Stack, two: Stranger) -> None:
    load = {"model_name": MODEL, "node": "local"}
    refused = call(stack, "POST", "/two/models/unload", load, expect=400)
    assert refused["message"].startswith("node: ")


def test_a_killed_worker_is_unhealthy_then_offline_and_comes_back_as_who_it_was(
    stack: Stack, two: Stranger
) -> None:
    call(stack, "PATCH", "/two/labels", {"labels": {"zone": "a", "tier": "x"}})
    with stack.client() as client:
        assert client.delete("/api/nodes/two/labels/tier").status_code == 204
    before = node(stack)
    two.kill()
    for worse in ("unhealthy", "offline"):
        eventually(lambda worse=worse: state(stack) == worse, what=worse)
    assert replicas(stack) == []
    two.start()
    eventually(lambda: state(stack) == "healthy", what="two back")
    after = node(stack)
    assert (after["id"], after["labels"]["zone"]) == (before["id"], "a")


def test_an_admins_memory_budget_outlives_its_worker(stack: Stack, two: Stranger) -> None:
    def offered() -> int:
        return next(int(d["total_memory_bytes"]) for d in node(stack)["devices"] if d["id"] == "cpu")

    if state(stack) == "pending":
        call(stack, "POST", "/two/approve", {})
    own = offered()
    call(stack, "PUT", "/two/memory-budget", {"value": "96MiB"})
    assert offered() == 96 << 20, "at once, whatever its worker said last"
    beat = node(stack)["last_heartbeat_time"]
    two.kill()
    two.start()
    eventually(
        lambda: node(stack)["last_heartbeat_time"] > beat and state(stack) == "healthy",
        what="two back",
        seconds=30,
    )
    assert (offered(), node(stack)["admin_memory_budget"]) == (96 << 20, "96MiB")
    call(stack, "DELETE", "/two/memory-budget")
    eventually(lambda: offered() == own, what="its worker's own budget")


def test_a_goodbye_is_offline_at_once_and_a_removed_node_is_a_stranger_again(
    stack: Stack, two: Stranger
) -> None:
    before = node(stack)["id"]
    two.end()
    assert state(stack) == "offline"
    call(stack, "DELETE", "/two")
    call(stack, "GET", "/two", expect=404)
    two.start()
    eventually(lambda: registered(stack), what="two registered")
    assert (state(stack), node(stack)["id"] != before) == ("pending", True)
