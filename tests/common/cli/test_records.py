"""Records of running processes: read where they are whole, ignored where they are not."""

import json
import os
from pathlib import Path

import pytest

from weft_common.cli.records import part_records
from weft_common.cli.status import document, is_up, merged
from weft_common.home import Home, open_home
from weft_common.process import start_time
from weft_common.run_lock import Owner


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path)


def note(
    file: Path, name: str, *, pid: int | None = None, started: int | None = None, state: str = "ready"
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps(
            {"name": name, "pid": pid, "start_time": started, "state": state, "address": "a:1", "more": 1}
        )
    )


def here() -> dict[str, int | None]:
    return {"pid": os.getpid(), "started": start_time(os.getpid())}


def states(home: Home) -> dict[str, tuple[object, object]]:
    parts = document(home, None, merged(home))["parts"]
    assert isinstance(parts, list)
    return {part["name"]: (part["state"], part["pid"]) for part in parts}


def test_process_that_runs_is_as_its_record_says(home: Home) -> None:
    note(home.parts / "nats.json", "nats", **here())
    note(home.workers / "w" / "replicas" / "r.json", "replica:w/m#0", state="starting", **here())

    assert states(home) == {"nats": ("ready", os.getpid()), "replica:w/m#0": ("starting", os.getpid())}


def test_pid_that_somebody_else_got_is_no_proof_of_life(home: Home) -> None:
    note(home.parts / "nats.json", "nats", pid=os.getpid(), started=1)

    assert states(home) == {"nats": ("stopped", None)}


def test_worker_that_both_its_supervisor_and_itself_wrote_about_appears_once(home: Home) -> None:
    note(home.parts / "worker-w.json", "worker-w")
    note(home.workers / "w" / "agent.json", "worker-w", **here())

    assert states(home) == {"worker-w": ("ready", os.getpid())}


def test_record_that_is_not_whole_is_none(home: Home) -> None:
    (home.parts / "a.json").write_text('{"name": "a"')
    (home.parts / "b.json").write_text('{"name": "b"}')
    (home.parts / "c.json").write_text("[]")

    assert part_records(home) == ()


def test_home_is_up_when_its_owner_serves(home: Home) -> None:
    note(home.parts / "nats.json", "nats", **here())
    owner = Owner(os.getpid(), start_time(os.getpid()) or 0, "http://x", serving=False)

    assert not is_up(owner, merged(home))
    assert is_up(Owner(owner.pid, owner.start_time, "http://x", serving=True), merged(home))


def test_home_with_a_worker_only_is_up_when_that_is_ready(home: Home) -> None:
    note(home.workers / "w" / "agent.json", "worker-w", **here())

    assert is_up(None, merged(home))


def test_what_is_wrong_with_a_part_is_told_as_long_as_it_runs(home: Home) -> None:
    for name, living in (("a", here()), ("b", {})):
        file = home.workers / "w" / "replicas" / f"{name}.json"
        note(file, f"replica:w/{name}#0", **living)
        file.write_text(json.dumps(json.loads(file.read_text()) | {"problem": "its process is stopped"}))
    parts = document(home, None, merged(home))["parts"]
    assert isinstance(parts, list)
    assert [part.get("problem") for part in parts] == ["its process is stopped", None]
