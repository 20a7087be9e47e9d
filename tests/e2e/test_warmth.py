"""What keeps models loaded and what lets them go, as clients and admins meet it."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from tests.e2e.pair import SHORT_TIMERS
from tests.e2e.stack import Stack, eventually, free_port
from weft_router.fleet.demand import slots_ahead

pytestmark = pytest.mark.e2e

SCHEDULING = "/api/nodes/scheduling"
MODELS = ("brief", "windowed", "first", "second", "third", "fourth", "patient", "likely", "hasty")
LIMITS = {"WEFT_MAX_ACTIVE_BACKENDS": "1"}
# Something is always in use on a machine that runs this.
SHORT = {
    "WEFT_MEMORY_BUDGET": "100%",
    "WEFT_MEMORY_RECLAIMER": "true",
    "WEFT_MEMORY_RECLAIMER_THRESHOLD": "0.001",
}
WATCHED = {
    "WEFT_WATCHDOG_IDLE": "true",
    "WEFT_WATCHDOG_IDLE_TIMEOUT": "2s",
    "WEFT_WATCHDOG_BUSY": "true",
    "WEFT_WATCHDOG_BUSY_TIMEOUT": "1s",
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose own worker has no limits, others with one replica, both watchdogs, little memory."""
    made = Stack(tmp_path_factory.mktemp("warm") / "home", free_port())
    for name in MODELS:
        made.write_model(name)
    made.up(
        WEFT_AUTO_APPROVE_NODES="true",
        WEFT_EXPOSE_NODE_HEADER="true",
        WEFT_MIN_RESIDENCY="200ms",
        **SHORT_TIMERS,
    )
    with made.more_workers({"narrow": LIMITS, "watched": WATCHED, "short": SHORT}, **SHORT_TIMERS):
        yield made
    made.leave()


def set_policy(stack: Stack, model: str, **fields: Any) -> None:
    with stack.client() as client:
        answer = client.post(SCHEDULING, json={"model_name": model, **fields})
    assert answer.status_code == 200, answer.text


def on(node: str) -> dict[str, Any]:
    return {"node_selector": {"node.name": node}}


def replicas(stack: Stack, model: str) -> list[int]:
    return [part.pid for part in stack.parts("replica:") if f"/{model}#" in part.name]


def reasons(stack: Stack, model: str) -> list[str]:
    """Why the leader did something about a model."""
    return [r["why"] for r in stack.records("log/router-0.log", "reconciling") if r["model"] == model]


def ask(stack: Stack, model: str, **fields: Any) -> None:
    answer = stack.chat(model, "tokens=1", **fields)
    assert answer.status_code == 200, answer.text


def test_a_request_says_how_long_its_model_stays_and_the_next_one_brings_it_back(warm: Stack) -> None:
    set_policy(warm, "brief", **on("local"))
    ask(warm, "brief", keep_alive=-1)
    (pid,) = replicas(warm, "brief")
    ask(warm, "brief", keep_alive="1s")
    eventually(lambda: not replicas(warm, "brief"), what="unloaded", seconds=15)
    assert reasons(warm, "brief")[-1].endswith("a request asked for 1 s")
    ask(warm, "brief")
    (again,) = replicas(warm, "brief")
    assert again != pid


@pytest.mark.parametrize("value", ["soon", True, [5], "1y"])
def test_a_keep_alive_that_is_none_is_a_400_that_names_it(warm: Stack, value: object) -> None:
    answer = warm.chat("brief", "tokens=1", keep_alive=value)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "keep_alive")


def test_a_window_loads_its_model_and_holds_it_and_explains_itself(warm: Stack) -> None:
    now = datetime.now(UTC)
    window = f"{now.minute} {now.hour} * * *"
    done = warm.weft(
        "policy",
        "set",
        "windowed",
        "--selector",
        "node.name=local",
        "--warm",
        f"{window} for 1h",
        "--keep-alive",
        "0",
    )
    assert done.returncode == 0, done.stderr
    assert f"0s idle, {window} for 1h" in " ".join(warm.weft("policy", "get", "windowed").stdout.split())
    eventually(lambda: replicas(warm, "windowed"), what="loaded")
    ask(warm, "windowed", keep_alive=0)
    with warm.client() as client:
        said = client.get("/api/nodes/explain/windowed").json()["warmth"]
    assert said[0].startswith(f"the warm window '{window} for 3600 s' is open until ")
    assert "warm window" in warm.weft("explain", "windowed").stdout
    held = replicas(warm, "windowed")
    time.sleep(2)  # there is nothing to wait for: it must not go
    assert replicas(warm, "windowed") == held
    set_policy(warm, "windowed", keep_alive="0s", **on("local"))
    eventually(lambda: not replicas(warm, "windowed"), what="unloaded without a window", seconds=15)


def test_where_one_replica_may_run_models_take_turns_and_nobody_fails(warm: Stack) -> None:
    for model in ("first", "second"):
        set_policy(warm, model, **on("narrow"))
    for model in ("first", "second", "first"):
        ask(warm, model)
        eventually(
            lambda: len([*replicas(warm, "first"), *replicas(warm, "second")]) == 1, what="one replica"
        )
    with warm.client() as client:
        set_policy(warm, "second", min_replicas=0, **on("narrow"))
        nodes = {n["name"]: n for n in client.get("/api/nodes").json()["nodes"]}
        events = eventually(
            lambda: (
                len(
                    found := client.get("/api/events", params={"filter.kinds": "EVENT_KIND_EVICTION"}).json()[
                        "events"
                    ]
                )
                >= 2
                and found
            ),
            what="evictions told",
        )
    assert {e["model"] for e in events} >= {"first", "second"}
    assert all(e["why"].startswith("narrow may run 1 replicas at most") for e in events)
    assert nodes["narrow"]["max_replicas"] == 1


def test_a_request_that_keeps_a_replica_busy_for_too_long_is_ended_with_a_reason(warm: Stack) -> None:
    set_policy(warm, "patient", **on("watched"))
    ask(warm, "patient")
    (pid,) = replicas(warm, "patient")
    answer = warm.chat("patient", "tokens=1000 delay_ms=50")
    assert answer.status_code == 504, answer.text
    assert "WEFT_WATCHDOG_BUSY_TIMEOUT" in answer.json()["error"]["message"]
    eventually(lambda: pid not in replicas(warm, "patient"), what="its process stopped")
    with warm.stream("patient", messages=[{"role": "user", "content": "tokens=1000 delay_ms=50"}]) as pieces:
        told = b"".join(pieces)
    assert b"WEFT_WATCHDOG_BUSY_TIMEOUT" in told
    assert b"[DONE]" not in told
    ask(warm, "patient")


def test_where_memory_is_short_what_is_idle_goes_but_for_what_is_needed(warm: Stack) -> None:
    set_policy(warm, "third", **on("short"))
    set_policy(warm, "fourth", min_replicas=1, **on("short"))
    eventually(lambda: replicas(warm, "fourth"), what="the minimum")
    held = replicas(warm, "fourth")
    ask(warm, "third", keep_alive=-1)
    eventually(lambda: not replicas(warm, "third"), what="unloaded", seconds=15)
    assert reasons(warm, "third")[-1].endswith("% of the memory of short are in use")
    assert replicas(warm, "fourth") == held


def test_a_node_with_an_idle_watchdog_keeps_nothing_that_is_idle_but_what_is_needed(warm: Stack) -> None:
    set_policy(warm, "second", min_replicas=1, **on("watched"))
    set_policy(warm, "brief", keep_alive="-1s", **on("watched"))
    eventually(lambda: replicas(warm, "second"), what="the minimum")
    ask(warm, "brief", keep_alive=-1)
    eventually(lambda: not replicas(warm, "brief"), what="unloaded", seconds=15)
    assert reasons(warm, "brief")[-1].endswith("watched keeps nothing that is idle for more than 2 s")
    assert replicas(warm, "second")


def remember_demand(stack: Stack, model: str) -> None:
    """As if the model had been asked for at this time of the last two days."""
    password = json.loads((stack.home / "secrets.json").read_text())["postgres_password"]
    url = f"postgresql://weft:{password}@{stack.part('postgres').address}/postgres"
    ahead = slots_ahead(time.time())
    rows = [(slot.index, slot.day - back, model) for slot in ahead for back in (1, 2)]

    async def note() -> None:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            await connection.executemany("INSERT INTO demand (slot, day, model) VALUES ($1, $2, $3)", rows)
        finally:
            await connection.close()

    asyncio.run(note())


def test_what_is_likely_to_be_asked_for_is_loaded_where_that_is_wanted_and_says_why(warm: Stack) -> None:
    remember_demand(warm, "likely")
    set_policy(warm, "likely", prewarm=True, keep_alive="0s", **on("local"))
    eventually(lambda: replicas(warm, "likely"), what="loaded ahead of demand", seconds=15)
    assert "it was on 2 of the last 3 days" in reasons(warm, "likely")[-1]
    with warm.client() as client:
        said = client.get("/api/nodes/explain/likely").json()["warmth"]
    assert said[-1].endswith("it was on 2 of the last 3 days")
    assert replicas(warm, "likely"), "it stays over its time, whatever its keep-alive"


def test_requests_that_let_their_model_go_at_once_are_all_answered_however_they_come(warm: Stack) -> None:
    set_policy(warm, "hasty", **on("local"))
    loads = set()
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        ask(warm, "hasty", keep_alive=0)
        loads |= set(replicas(warm, "hasty"))
        time.sleep(0.3)  # long enough for it to be found idle now and then
    assert len(loads) > 1, "it came and went"
