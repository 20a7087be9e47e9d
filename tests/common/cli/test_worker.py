"""`weft worker` becomes the agent, told by WEFT_ variables."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from weft_common.cli.worker import run_worker
from weft_common.home import StartError
from weft_common.process import start_time


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Mapping[str, str]]]:
    """What this process would have become."""
    seen: list[tuple[list[str], Mapping[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _, argv, env: seen.append((argv, env)))
    for name in [name for name in os.environ if name.startswith("WEFT_")]:
        monkeypatch.delenv(name)
    return seen


def test_flags_become_settings(tmp_path: Path, became: list[tuple[list[str], Mapping[str, str]]]) -> None:
    run_worker(
        tmp_path, "two", {"WEFT_REGISTER_TO": "http://x:1", "WEFT_REGISTRATION_TOKEN": "t", "WEFT_ADDR": None}
    )

    ((argv, env),) = became
    assert argv[1:] == ["-m", "weft_worker"]
    assert {name: value for name, value in env.items() if name.startswith("WEFT_")} == {
        "WEFT_REGISTER_TO": "http://x:1",
        "WEFT_REGISTRATION_TOKEN": "t",
        "WEFT_NODE_NAME": "two",
        "WEFT_STATE_DIR": str(tmp_path / "worker" / "two"),
    }


def test_worker_beside_its_own_weft_knows_the_token(
    tmp_path: Path, became: list[tuple[list[str], Mapping[str, str]]]
) -> None:
    (tmp_path / "join-token").write_text("of this home")
    run_worker(tmp_path, "two", {"WEFT_REGISTER_TO": "http://x:1"})

    assert became[0][1]["WEFT_REGISTRATION_TOKEN"] == "of this home"


@pytest.mark.usefixtures("became")
def test_missing_token_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="--registration-token is needed"):
        run_worker(tmp_path, "two", {"WEFT_REGISTER_TO": "http://x:1"})


@pytest.mark.usefixtures("became")
def test_second_worker_of_one_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "worker" / "two"
    folder.mkdir(parents=True)
    record = {"name": "worker-two", "pid": os.getpid(), "start_time": start_time(os.getpid())}
    (folder / "agent.json").write_text(json.dumps({**record, "state": "ready", "address": "a:1"}))

    with pytest.raises(StartError, match=f"runs here already: pid {os.getpid()}"):
        run_worker(tmp_path, "two", {"WEFT_REGISTRATION_TOKEN": "t"})
