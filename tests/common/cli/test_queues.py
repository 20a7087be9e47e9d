"""`weft queues` shows who waits, and that nobody does."""

import json
from typing import Any

import pytest

from weft_common.cli.client import CallFailed
from weft_common.cli.queues import run_queues

BUSY = {
    "model": "m",
    "waiting_count": 3,
    "slot_count": 4,
    "service_time": "1.250s",
    "principals": [
        {"principal": "alice", "waiting_count": 2, "longest": "3.500s"},
        {"principal": "bob", "waiting_count": 1, "longest": "0.250s"},
    ],
}
NEW = {"model": "n", "waiting_count": 1, "slot_count": 1, "service_time": None, "principals": []}


class FakeEndpoint:
    def __init__(self, *queues: dict[str, Any]) -> None:
        self.queues = queues

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        assert (method, path) == ("GET", "/api/queues")
        return {"queues": list(self.queues)}


class NoEndpoint:
    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        raise CallFailed("no router")


def run(endpoint: Any, *, as_json: bool = False) -> int:
    return run_queues(endpoint, as_json=as_json)


def test_who_waits_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeEndpoint(BUSY, NEW)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["model", "principal", "waiting", "longest", "slots", "held", "for"],
        ["m", "all", "3", "4", "1.2", "s"],
        ["alice", "2", "3.5", "s"],
        ["bob", "1", "0.2", "s"],
        ["n", "all", "1", "1"],
    ]


def test_that_nobody_waits_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeEndpoint()) == 0
    assert capsys.readouterr().out == "Nobody waits.\n"


def test_json_is_the_answer_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeEndpoint(BUSY), as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"queues": [BUSY]}


def test_a_failure_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(NoEndpoint()) == 1
    assert capsys.readouterr().err == "weft: no router\n"
