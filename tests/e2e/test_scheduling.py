"""Scheduling policies and explanations, as an admin meets them."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.pair import Pair
from tests.e2e.stack import Stack, eventually

pytestmark = pytest.mark.e2e

SCHEDULING = "/api/nodes/scheduling"
EXPLAIN = "/api/nodes/explain"
DEFAULTS = {
    "node_selector": {},
    "min_replicas": 0,
    "max_replicas": 0,
    "spread_all": False,
    "route_policy": "",
    "balance_abs_threshold": 0,
    "balance_rel_threshold": 0,
    "min_prefix_match": 0,
    "warm_windows": [],
}


@pytest.fixture(scope="module")
def models(pair: Pair) -> None:
    """One model for each test, all of them new at once: the catalog is looked at every two seconds."""
    *others, last = ("picky", "sure", "elastic", "asked", "misfit", "told")
    for name in others:
        pair.stack.write_model(name)
    pair.stack.add_model(last)


@pytest.fixture
def admin(pair: Pair, models: None) -> Iterator[httpx.Client]:
    """A client of the pair that leaves no policy behind."""
    with pair.stack.client() as client:
        yield client
        for policy in client.get(SCHEDULING).json()["policies"]:
            client.delete(f"{SCHEDULING}/{policy['model_name']}")


def set_policy(admin: httpx.Client, model: str, **fields: Any) -> dict[str, Any]:
    answer = admin.post(SCHEDULING, json={"model_name": model, **fields})
    assert answer.status_code == 200, answer.text
    policy: dict[str, Any] = answer.json()["policy"]
    return policy


def test_policies_are_set_read_listed_and_deleted(admin: httpx.Client) -> None:
    assert admin.get(SCHEDULING).json() == {"policies": [], "next_page_token": ""}
    wanted = {"node_selector": {"gpu.vendor": "nvidia"}, "min_replicas": 2, "max_replicas": 4}
    policy = set_policy(admin, "team/llama3", **wanted)
    assert policy == DEFAULTS | {"model_name": "team/llama3"} | wanted
    assert admin.get(f"{SCHEDULING}/team/llama3").json() == {"policy": policy}
    set_policy(admin, "another", route_policy="round_robin", min_prefix_match=0.5)
    again = set_policy(admin, "another", max_replicas=1)
    expected = {"model_name": "another", "route_policy": "round_robin", "min_prefix_match": 0.5}
    assert again == DEFAULTS | expected | {"max_replicas": 1}
    first = admin.get(SCHEDULING, params={"page_size": 1}).json()
    rest = admin.get(SCHEDULING, params={"page_token": first["next_page_token"]}).json()
    assert [p["model_name"] for p in first["policies"] + rest["policies"]] == ["another", "team/llama3"]
    deleted = admin.delete(f"{SCHEDULING}/team/llama3")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for answer in (admin.get(f"{SCHEDULING}/team/llama3"), admin.delete(f"{SCHEDULING}/team/llama3")):
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "POLICY_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model_name": ""}, "model_name"),
        ({"min_replicas": 3, "max_replicas": 2}, "min_replicas"),
        ({"min_replicas": -1}, "min_replicas"),
        ({"max_replicas": -1}, "max_replicas"),
        ({"min_replicas": "many"}, "min_replicas"),
        ({"spread_all": True, "min_replicas": 1}, "spread_all"),
        ({"spread_all": True, "max_replicas": 1}, "spread_all"),
        ({"route_policy": "fastest"}, "route_policy"),
        ({"min_prefix_match": 1.5}, "min_prefix_match"),
        ({"balance_abs_threshold": -1}, "balance_abs_threshold"),
        ({"balance_rel_threshold": 0.5}, "balance_rel_threshold"),
        ({"node_selector": {"": "x"}}, "node_selector"),
    ],
)
def test_what_cannot_be_is_a_400_that_names_the_field(
    admin: httpx.Client, body: dict[str, Any], field: str
) -> None:
    answer = admin.post(SCHEDULING, json={"model_name": "m", **body})
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["message"].startswith(f"{field}: ")


def served_by(pair: Pair, model: str) -> str:
    answer = pair.stack.chat(model, "tokens=1")
    assert answer.status_code == 200, answer.text
    return answer.headers["x-weft-node"]


def test_a_model_runs_where_its_selector_leads_and_moves_with_it(pair: Pair, admin: httpx.Client) -> None:
    set_policy(admin, "picky", node_selector={"zone": "east"})
    assert {served_by(pair, "picky") for _ in range(4)} == {"two"}
    set_policy(admin, "picky", node_selector={"node.name": "local"})
    # The gateway hears of it by its watch, as fast as this test hears that it is written.
    eventually(lambda: served_by(pair, "picky") == "local", what="the new policy heard", seconds=2)
    assert {served_by(pair, "picky") for _ in range(4)} == {"local"}
    eventually(lambda: pair.replicas("picky").keys() == {"local"}, what="the stray gone")
    set_policy(admin, "picky", node_selector={"zone": "mars"})
    refused = eventually(
        lambda: (answer := pair.stack.chat("picky")).status_code == 503 and answer, what="a refusal"
    )
    assert "not labelled zone=mars" in refused.json()["error"]["message"]


def test_a_minimum_comes_true_and_survives_an_unload(pair: Pair, admin: httpx.Client) -> None:
    set_policy(admin, "sure", min_replicas=2)
    both = eventually(lambda: len(found := pair.replicas("sure")) == 2 and found, what="two replicas")
    assert pair.stack.weft("unload", "sure", "--node", "two").returncode == 0

    def renewed() -> bool:
        now = pair.replicas("sure")
        return len(now) == 2 and now["two"].pid != both["two"].pid

    eventually(renewed, what="the replica back", seconds=15)
    assert pair.replicas("sure")["local"].pid == both["local"].pid


def test_replicas_come_with_work_and_go_without(pair: Pair, admin: httpx.Client) -> None:
    set_policy(admin, "elastic", max_replicas=2)
    work = [{"role": "user", "content": "tokens=1000 delay_ms=50"}]
    with pair.stack.stream("elastic", messages=work) as pieces:
        next(pieces)
        assert len(pair.replicas("elastic")) == 1
        eventually(lambda: len(pair.replicas("elastic")) == 2, what="one more replica", seconds=20)
    eventually(lambda: len(pair.replicas("elastic")) == 1, what="one replica less", seconds=20)


def explained(admin: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = admin.post(EXPLAIN, json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_an_explanation_tells_where_and_why_not_elsewhere(pair: Pair, admin: httpx.Client) -> None:
    set_policy(admin, "asked", node_selector={"zone": "east"})
    found = admin.get(f"{EXPLAIN}/asked").json()
    assert [(d["outcome"], d["node"]) for d in found["decisions"]] == [("OUTCOME_PLACE", "two")]
    reasons = {c["node"]: c["reason"] for c in found["candidates"]}
    assert reasons == {"two": "", "local": "has no label zone=east"}
    assert found["decisions"][0]["excluded_counts"] == {"not labelled zone=east": 1}
    assert found["fits"] is True
    assert served_by(pair, "asked") == "two"
    assert admin.get(f"{EXPLAIN}/asked").json()["decisions"][0]["outcome"] == "OUTCOME_SERVE"
    unknown = admin.get(f"{EXPLAIN}/nobody")
    assert (unknown.status_code, unknown.json()["details"][0]["reason"]) == (404, "MODEL_NOT_FOUND")


def test_what_if_a_misfit_had_a_node(pair: Pair, admin: httpx.Client) -> None:
    set_policy(admin, "misfit", node_selector={"gpu.vram": "80GB+"})
    assert explained(admin, model_name="misfit")["decisions"][0]["outcome"] == "OUTCOME_REFUSE"
    device = {"vendor": "nvidia", "total_memory_bytes": str(80 << 30)}
    more = {"add_nodes": [{"name": "new", "devices": [device]}]}
    found = explained(admin, model_name="misfit", what_if=more)
    assert (found["fits"], found["decisions"][0]["node"]) == (True, "new")
    twice = explained(admin, model_name="misfit", what_if=more, replica_count=2)
    assert [d["outcome"] for d in twice["decisions"]] == ["OUTCOME_PLACE", "OUTCOME_REFUSE"]
    elsewhere = {"set_policies": [{"model_name": "misfit"}], "remove_nodes": ["local"]}
    assert explained(admin, model_name="misfit", what_if=elsewhere)["decisions"][0]["node"] == "two"


def test_the_api_is_grpc_as_well(pair: Pair, admin: httpx.Client) -> None:
    body = json.dumps({"model_name": "typed", "min_replicas": 1, "max_replicas": 3})
    done = pair.stack.buf_curl("/weft.scheduling.v1.SchedulingService/SetPolicy", "-d", body)
    assert done.returncode == 0, done.stderr
    assert admin.get(f"{SCHEDULING}/typed").json()["policy"]["max_replicas"] == 3


def test_the_command_line_does_the_same(pair: Pair, admin: httpx.Client) -> None:
    stack: Stack = pair.stack
    assert stack.weft("policy", "set", "told", "--selector", "zone=east", "--max", "2").returncode == 0
    listed = json.loads(stack.weft("policy", "list", "--json").stdout)["policies"]
    assert listed == [DEFAULTS | {"model_name": "told", "node_selector": {"zone": "east"}, "max_replicas": 2}]
    said = stack.weft("explain", "told")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0] == "told would be loaded on two."
    assert "has no label zone=east" in said.stdout
    misfit = stack.weft("explain", "told", "--without", "two", "--json")
    assert misfit.returncode == 1
    assert json.loads(misfit.stdout)["fits"] is False
