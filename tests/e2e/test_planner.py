"""More models than memory, loads that many wait for, and routers that die while they load."""

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crowd import ask_all, chat, crowd, traffic
from tests.e2e.stack import Stack, eventually, free_port

pytestmark = pytest.mark.e2e

TRIO = ("one", "two", "three")
HEAVY = ("anvil", "boulder", "cannon")
_MIB = 1024 * 1024
# Each of the heavy ones holds 100 MiB of its own beside its process, so that two fit and three do not, whatever else
# runs on the machine; of the tiny ones at least two fit.
BUDGET_FOR_TWO = "360MiB"
BUDGET_FOR_ONE = "240MiB"


def write_models(stack: Stack) -> None:
    """Three copies of the model that comes with Weft under other names, and three that hold much memory."""
    tiny = Path(__file__).resolve().parents[2] / "worker/weft_worker/models/weft-tiny.gguf"
    for name in TRIO:
        fields = {"context_size": 1280, "parallel": 4, "threads": 1}
        stack.write_model(name, backend="llama-cpp", parameters={"model": str(tiny)}, **fields)
    weights = stack.home / "models" / "heavy.bin"
    with weights.open("wb") as file:
        file.truncate(100 * _MIB)
    for name in HEAVY:
        options = {"memory_mib": "100", "tokens": "4", "delay_ms": "5"}
        stack.write_model(name, parameters={"model": str(weights)}, options=options, parallel=4)


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A machine with room for two of three models, and replicas that may go after two seconds."""
    made = Stack(tmp_path_factory.mktemp("tight") / "home", free_port())
    write_models(made)
    made.up(
        WEFT_MEMORY_BUDGET=BUDGET_FOR_TWO,
        WEFT_MIN_RESIDENCY="2s",
        WEFT_EVICTION_PATIENCE="2s",
        WEFT_HEARTBEAT_INTERVAL="1s",
    )
    yield made
    made.leave()


def loads_of(stack: Stack) -> list[str]:
    """Every load that ended well so far, by model."""
    return [str(r["model"]) for r in stack.records("log/router-*.log", "model_loaded")]


def running(stack: Stack, models: Sequence[str]) -> set[str]:
    """Which of the models have a process."""
    return {p.name.partition("/")[2].partition("#")[0] for p in stack.parts("replica:")} & set(models)


def test_the_least_recently_used_goes_and_is_missed_by_nobody(tight: Stack) -> None:
    anvil, boulder, cannon = HEAVY
    for model in (anvil, boulder, anvil):
        assert tight.chat(model).status_code == 200
        time.sleep(1.1)  # the order of use, which reports tell
    time.sleep(1.0)
    assert tight.chat(cannon).status_code == 200
    assert running(tight, HEAVY) == {anvil, cannon}


@pytest.mark.parametrize("models", [TRIO, HEAVY], ids=["tiny", "heavy"])
def test_three_models_on_room_for_two_all_answer_under_mixed_load_and_nothing_is_cut(
    tight: Stack, models: tuple[str, ...]
) -> None:
    long = chat(models[0], "tokens=200 delay_ms=10", stream=True, max_tokens=200)
    with crowd(tight, [long] * 2) as streams:
        answers = ask_all(tight, [chat(m, max_tokens=8) for m in models * 4])
    assert {a.status for a in answers} == {200}, [a.body for a in answers if not a.ok]
    assert all(a.done for a in streams.answers)
    for model in models:
        assert tight.chat(model).status_code == 200


def test_two_models_that_push_each_other_out_load_no_oftener_than_their_residency_allows(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path / "home", free_port())
    write_models(stack)
    stack.up(WEFT_MEMORY_BUDGET=BUDGET_FOR_ONE, WEFT_MIN_RESIDENCY="2s", WEFT_HEARTBEAT_INTERVAL="1s")
    try:
        over = time.monotonic() + 8
        answered = []
        for model in itertools.cycle(HEAVY[:2]):
            if time.monotonic() >= over:
                break
            answered.append(stack.chat(model, max_tokens=4))
        assert {answer.status_code for answer in answered} == {200}, {answer.text for answer in answered}
        # Four residencies and the first two loads.
        assert 3 <= len(loads_of(stack)) <= 6
    finally:
        stack.leave()


@pytest.fixture(scope="module")
def routers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two routers over one worker."""
    made = Stack(tmp_path_factory.mktemp("routers") / "home", free_port())
    made.up("--routers", "2", WEFT_HEARTBEAT_INTERVAL="1s", WEFT_LOAD_ORPHAN="2s")
    yield made
    made.leave()


def gated(stack: Stack, name: str, **options: str) -> tuple[Path, Path]:
    """A model whose load waits for a file; returns that file, and the one that counts loads."""
    gate, count = stack.home / f"{name}.gate", stack.home / f"{name}.count"
    told = {"load_gate_file": str(gate), "load_count_file": str(count), "tokens": "2", **options}
    stack.add_model(name, options=told, parallel=8, max_queue=200)
    return gate, count


def wait_for_load(stack: Stack, name: str, count: Path) -> dict[str, Any]:
    """The status of a load, once the engine is at it."""
    eventually(count.exists, what=f"{name} being loaded")

    def loading() -> dict[str, Any]:
        with stack.client() as client:
            answer = client.get(f"/api/models/{name}/load-status")
        status: dict[str, Any] = answer.json().get("status", {})
        return status if status.get("state") == "LOAD_STATE_LOADING" else {}

    found: dict[str, Any] = eventually(loading, what=f"the status of {name}'s load")
    return found


def test_a_hundred_first_requests_cause_one_load(routers: Stack) -> None:
    gate, count = gated(routers, "crowded")
    with crowd(routers, [chat("crowded")] * 100) as asked:
        status = wait_for_load(routers, "crowded", count)
        gate.touch()
    assert (status["model"], status["node"]) == ("crowded", "local")
    assert all(a.ok for a in asked.answers), {a.body for a in asked.answers if not a.ok}
    assert count.stat().st_size == 1
    with routers.client() as client:
        answer = client.get("/api/models/crowded/load-status")
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "NOT_LOADING")


def test_the_load_of_a_killed_router_is_finished_by_the_other_for_everybody_who_waits(routers: Stack) -> None:
    gate, count = gated(routers, "orphan")
    with crowd(routers, [chat("orphan")] * 100) as asked:
        wait_for_load(routers, "orphan", count)
        owner = owner_of(routers, "orphan")
        routers.part(owner).kill()
        # The other one must have taken it over before the load may end.
        eventually(
            lambda: routers.records("log/router-*.log", "load_taken_over"),
            what="a load taken over",
            seconds=15,
        )
        gate.touch()
    assert all(a.ok for a in asked.answers), {a.body for a in asked.answers if not a.ok}
    assert count.stat().st_size == 1
    assert len(routers.parts("replica:local/orphan")) == 1


def owner_of(stack: Stack, model: str) -> str:
    """The router that decided where the model goes."""
    for name in ("router-0", "router-1"):
        if any(r.get("model") == model for r in stack.records(f"log/{name}.log", "placement_decided")):
            return name
    raise AssertionError(f"nobody placed {model}")


def test_a_failing_load_tells_all_who_wait_the_backends_own_words(routers: Stack) -> None:
    gate, count = gated(routers, "doomed", load_fail="tensor blk.7 is out of bounds")
    with crowd(routers, [chat("doomed")] * 100) as asked:
        wait_for_load(routers, "doomed", count)
        gate.touch()
    assert {a.status for a in asked.answers} == {503}
    assert all(b"tensor blk.7 is out of bounds" in a.body for a in asked.answers)
    assert all("retry-after" in a.headers for a in asked.answers)
    assert count.stat().st_size == 1
    eventually(lambda: not routers.parts("replica:local/doomed"), what="its process gone")


def test_who_leaves_ends_his_own_wait_and_who_runs_out_of_patience_is_told_how_far_it_is(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path / "home", free_port())
    stack.up(WEFT_LOAD_WAIT="2s")
    try:
        gate, count = gated(stack, "slow")
        with crowd(stack, [chat("slow")] * 3) as left:
            wait_for_load(stack, "slow", count)
            left.leave()
        answer = stack.chat("slow")
        body = answer.json()
        assert answer.status_code == 503
        assert body["error"]["code"] == "model_loading"
        assert (body["loading"]["model"], body["loading"]["state"]) == ("slow", "loading")
        assert body["loading"]["node"] == "local"
        assert int(answer.headers["retry-after"]) >= 5
        gate.touch()
        eventually(lambda: stack.chat("slow").status_code == 200, what="the model served")
        assert count.stat().st_size == 1
    finally:
        stack.leave()


def test_no_router_that_knows_less_stops_a_replica(routers: Stack) -> None:
    routers.add_model("kept", options={"tokens": "4", "delay_ms": "10"}, parallel=8)
    assert routers.chat("kept").status_code == 200
    replica = routers.part("replica:local/kept")
    models, away = routers.home / "models", routers.home / "models.away"
    with traffic(routers, chat("kept")) as asked:
        for victim in ("router-0", "postgres", "router-1", "router-0"):
            routers.part(victim).kill()
            assert asked.goes_on(40)
        # A disk that is not mounted looks like an empty folder.
        models.rename(away)
        models.mkdir()
        routers.part("router-1").kill()
        assert asked.goes_on(100)
        models.rmdir()
        away.rename(models)
    assert asked.failures == []
    assert routers.part("replica:local/kept") == replica
