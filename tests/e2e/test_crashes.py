"""Models whose processes crash: who waits hears why, and nobody starts them in a loop."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crowd import Answer, ask_all, chat, crowd
from tests.e2e.stack import Stack, eventually, free_port
from tests.faults import kill

pytestmark = pytest.mark.e2e


def error_of(answer: Answer) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(answer.body)["error"]
    return error


def events(stack: Stack, model: str) -> list[dict[str, Any]]:
    with stack.client() as client:
        found: list[dict[str, Any]] = client.get("/api/events", params={"filter.model": model}).json()[
            "events"
        ]
    return found


def test_who_waits_for_a_model_that_crashes_hears_how_and_its_last_lines(stack: Stack) -> None:
    stack.add_model("segfault", options={"load_die": "-11"})
    (answer,) = ask_all(stack, [chat("segfault")])
    assert answer.status == 503
    assert "retry-after" in answer.headers
    told = error_of(answer)["message"]
    assert "its process was ended by SIGSEGV" in told
    assert "ggml: the weights are rotten" in told
    assert "ended by SIGSEGV" in next(
        e["why"] for e in events(stack, "segfault") if e["what"] == "load_failed"
    )


def test_who_waits_for_a_load_that_fails_hears_what_native_code_said_of_it(stack: Stack) -> None:
    stack.add_model(
        "inarticulate", options={"load_fail": "no model", "load_says": "ggml: tensor blk.7 is cut off"}
    )
    (answer,) = ask_all(stack, [chat("inarticulate")])
    assert answer.status == 503
    assert "no model; its last words:\nggml: tensor blk.7 is cut off" in error_of(answer)["message"]


def test_a_model_that_crashes_in_service_is_told_to_admins_and_comes_back(stack: Stack) -> None:
    stack.add_model("falls", parallel=2)
    stack.add_model("stands", parallel=2)
    answers = ask_all(stack, [chat("falls"), chat("stands")])
    assert all(answer.ok for answer in answers)
    with crowd(stack, [chat("stands", "tokens=150 delay_ms=10", stream=True)] * 2) as others:
        eventually(lambda: others.opened_count == 2, what="streams of the other model")
        kill(stack.part("replica:local/falls"))
        eventually(
            lambda: [e for e in events(stack, "falls") if e["what"] == "replica_gone"], what="the end, told"
        )
        assert ask_all(stack, [chat("falls")])[0].ok
    assert all(answer.done for answer in others.answers)
    (gone,) = [e for e in events(stack, "falls") if e["what"] == "replica_gone"]
    assert "its process was killed by SIGKILL, not by its worker" in gone["why"]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that believes a file of the test's on what the kernel killed, and starts anew what failed."""
    made = Stack(tmp_path_factory.mktemp("crashes") / "home", free_port())
    made.write_model("big", options={"load_gate_file": str(made.home.parent / "never")})
    made.write_model("loop", options={"load_die": "3", "load_count_file": str(made.home.parent / "loads")})
    kills(made, 0)
    made.up(WEFT_CGROUP_ROOT=str(groups(made)), WEFT_LOAD_COOLDOWN="0s")
    yield made
    made.leave()


def groups(stack: Stack) -> Path:
    return stack.home.parent / "groups"


def kills(stack: Stack, count: int) -> None:
    """Have the kernel have killed so many processes for want of memory."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    group = next(line.removeprefix("0::/") for line in [*lines, "0::/"] if line.startswith("0::/"))
    counter = groups(stack) / group / "memory.events"
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text(f"oom {count}\noom_kill {count}\n")


def test_who_waits_for_a_model_that_the_kernel_kills_hears_that_memory_was_short(watched: Stack) -> None:
    with crowd(watched, [chat("big")]) as asked:
        eventually(lambda: watched.parts("replica:local/big"), what="a load under way")
        kills(watched, 1)
        kill(watched.part("replica:local/big"))
    (answer,) = asked.answers
    assert answer.status == 503
    assert "its process was killed by the kernel (SIGKILL): out of memory" in error_of(answer)["message"]


def test_a_crash_loop_is_slowed_down_and_told_with_the_time_of_the_next_start(watched: Stack) -> None:
    loads = watched.home.parent / "loads"

    def refusal() -> Answer | None:
        (answer,) = ask_all(watched, [chat("loop")])
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        return answer if "does not start 'loop': it crashed" in error_of(answer)["message"] else None

    # The first starts come 0, 0, 1, 2 and 4 s after the crash before; the pause of 8 s is not waited for.
    told = eventually(refusal, what="a refusal", seconds=60)
    assert "its process ended with exit code 3" in error_of(told)["message"]
    assert 1 <= int(told.headers["retry-after"]) <= 8
    begun = loads.stat().st_size
    assert begun == 5
    assert refusal() is not None
    assert loads.stat().st_size == begun
    assert not watched.parts("replica:local/loop")
