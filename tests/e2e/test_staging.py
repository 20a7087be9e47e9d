"""Model files on their way to workers that do not see them, and the room they take there; as a user meets it."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.pair import SHORT_TIMERS
from tests.e2e.stack import Stack, eventually, free_port
from tests.e2e.weights import MIB, add_weights, came, load

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A router with its own worker, and one more that does not share its models."""
    made = Stack(tmp_path_factory.mktemp("staging") / "home", free_port())
    made.up(WEFT_AUTO_APPROVE_NODES="true", WEFT_EXPOSE_NODE_HEADER="true", **SHORT_TIMERS)
    with made.second_worker("two", **SHORT_TIMERS):
        yield made
    made.leave()


def test_a_model_is_brought_to_a_worker_that_does_not_see_it_and_answers_there(fleet: Stack) -> None:
    path = add_weights(fleet, "travels", 9)
    before = came(fleet).get("router", 0)
    answer = load(fleet, "travels", "two")
    assert answer.status_code == 200, f"{answer.text}\n{fleet.logs()}"
    assert came(fleet)["router"] - before == path.stat().st_size
    assert fleet.chat("travels").headers["x-weft-node"] == "two"


def test_the_packaged_model_is_loaded_from_where_it_was_brought(fleet: Stack) -> None:
    answer = load(fleet, "weft-tiny", "two")
    assert answer.status_code == 200, f"{answer.text}\n{fleet.logs()}"
    found = fleet.chat("weft-tiny", max_tokens=4)
    assert (found.status_code, found.headers["x-weft-node"]) == (200, "two")


def test_admins_see_what_workers_keep_and_take_it_away_once_it_is_unused(fleet: Stack) -> None:
    path = add_weights(fleet, "kept", 5)
    assert load(fleet, "kept", "two").status_code == 200
    listed = json.loads(fleet.weft("files", "--node", "two", "--json").stdout)["nodes"]["two"]
    (kept,) = [m for m in listed["models"] if m["model"] == "kept"]
    assert (int(kept["size_bytes"]), kept["in_use"]) == (path.stat().st_size, True)
    refused = fleet.weft("files", "delete", "kept", "--node", "two")
    assert refused.returncode == 1
    assert "kept" in refused.stderr
    with fleet.client() as client:
        assert client.post("/api/nodes/two/models/delete", json={"model_name": "kept"}).status_code == 409
    assert fleet.weft("unload", "kept").returncode == 0
    # Its process may not have ended yet.
    done = fleet.weft("files", "delete", "kept")
    assert (done.returncode, done.stdout) == (0, "5.0 MiB came free\n"), done.stderr
    with fleet.client() as client:
        models = client.get("/api/nodes/two/files").json()["models"]
    assert "kept" not in {m["model"] for m in models}


def test_placement_prefers_the_node_that_has_the_files_and_explains_that(fleet: Stack) -> None:
    with fleet.client() as client:

        def ranks() -> dict[str, float]:
            told = client.post("/api/nodes/explain", json={"model_name": "travels", "replicas": 1}).json()
            at = told["rank_names"].index("files to bring")
            return {c["node"]: c["ranks"][at] for c in told["candidates"] if c["ranks"]}

        fleet.weft("unload", "travels")
        eventually(lambda: not fleet.parts("replica:two/travels#"), what="travels unloaded")
        eventually(lambda: ranks() == {"local": 0, "two": 0}, what="files known where they are")
        assert fleet.weft("files", "delete", "travels").returncode == 0
        eventually(lambda: ranks() == {"local": 0, "two": 1}, what="files known to be gone")


def test_nothing_is_brought_to_a_node_that_shares_the_models(fleet: Stack) -> None:
    with fleet.second_worker("sharing", WEFT_SHARED_MODELS="true", **SHORT_TIMERS):
        path = add_weights(fleet, "common", 5)
        before = came(fleet)
        answer = load(fleet, "common", "sharing")
        assert answer.status_code == 200, f"{answer.text}\n{fleet.logs()}"
        assert fleet.chat("common", "tokens=1").headers["x-weft-node"] == "sharing"
        assert came(fleet) == before
        assert not list((fleet.home / "worker" / "sharing").rglob(path.name))


@pytest.fixture(scope="module")
def narrow(fleet: Stack) -> Iterator[Stack]:
    """With a worker whose files may take 20 MiB."""
    limits = {"WEFT_FILES_QUOTA": "20MiB", "WEFT_MAX_REPLICAS_PER_MODEL": "2"}
    with fleet.second_worker("narrow", **limits, **SHORT_TIMERS):
        yield fleet


def stored(stack: Stack) -> set[str]:
    listed = json.loads(stack.weft("files", "--node", "narrow", "--json").stdout)["nodes"]["narrow"]
    assert int(listed["used_bytes"]) <= int(listed["quota_bytes"]) == 20 * MIB
    return {model["model"] for model in listed["models"]}


def unload(stack: Stack, model: str) -> None:
    assert stack.weft("unload", model).returncode == 0
    eventually(lambda: not stack.parts(f"replica:narrow/{model}#"), what=f"{model} unloaded")


def bring(stack: Stack, model: str) -> None:
    """Load it there as soon as the router has heard what room there is."""

    def loaded() -> bool:
        answer = load(stack, model, "narrow")
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    eventually(loaded, what=f"{model} loaded")


def test_models_that_nobody_uses_make_room_and_those_in_use_stay(narrow: Stack) -> None:
    for name in ("first", "second", "third"):
        add_weights(narrow, name, 8)
    bring(narrow, "first")
    bring(narrow, "second")
    assert stored(narrow) == {"first", "second"}
    refused = load(narrow, "third", "narrow")
    assert refused.status_code in (503, 507)
    assert "disk" in refused.text
    assert stored(narrow) == {"first", "second"}
    unload(narrow, "first")
    bring(narrow, "third")
    assert stored(narrow) == {"second", "third"}
    for name in ("second", "third"):
        assert narrow.chat(name).headers["x-weft-node"] == "narrow"
        unload(narrow, name)


def test_of_a_model_that_resembles_another_only_the_difference_travels(narrow: Stack) -> None:
    path = add_weights(narrow, "base", 8)
    bring(narrow, "base")
    before = came(narrow).get("router", 0)
    tuned = add_weights(narrow, "tuned", 1)
    tuned.write_bytes(path.read_bytes() + tuned.read_bytes())
    bring(narrow, "tuned")
    assert came(narrow)["router"] - before <= 2 * MIB
    assert narrow.chat("tuned").headers["x-weft-node"] == "narrow"
