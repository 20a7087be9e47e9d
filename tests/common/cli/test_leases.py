"""`weft leases` shows who leads, and that nobody does."""

import json
from typing import Any

import pytest

from weft_common.cli.client import CallFailed
from weft_common.cli.leases import run_leases

LED = {
    "name": "reconciler",
    "holder": "router-1-ab",
    "epoch": "7",
    "remaining": "3.250s",
    "refused_count": "2",
}
FREE = {"name": "retention", "holder": "", "epoch": "1", "remaining": "0s", "refused_count": "0"}


class FakeEndpoint:
    def __init__(self, *leases: dict[str, str]) -> None:
        self.leases = leases

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        assert (method, path) == ("GET", "/api/leases")
        return {"leases": list(self.leases)}


class NoEndpoint:
    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        raise CallFailed("PostgreSQL cannot be reached")


def run(endpoint: Any, *, as_json: bool = False) -> int:
    return run_leases(endpoint, as_json=as_json)


def test_who_leads_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeEndpoint(LED, FREE)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["lease", "leader", "epoch", "remaining", "refused"],
        ["reconciler", "router-1-ab", "7", "3.2", "s", "2"],
        ["retention", "nobody", "1", "0.0", "s", "0"],
    ]


def test_before_anybody_led_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeEndpoint()) == 0
    assert capsys.readouterr().out == "No router has led yet.\n"


def test_json_is_the_answer_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeEndpoint(LED), as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"leases": [LED]}


def test_a_failure_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(NoEndpoint()) == 1
    assert capsys.readouterr().err == "weft: PostgreSQL cannot be reached\n"
