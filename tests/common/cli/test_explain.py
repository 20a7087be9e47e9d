"""`weft explain` in a sentence, whatever was decided."""

import json
from typing import Any

import pytest

from weft_common.cli.client import CallFailed
from weft_common.cli.explain import run_explain, sentence


def decision(outcome: str, node: str = "", **fields: Any) -> dict[str, Any]:
    return {"outcome": f"OUTCOME_{outcome}", "node": node, "replicas": [], "reason": "", **fields}


def an_answer(*decisions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    candidates = [
        {"node": "a", "reason": "", "ranks": [0, 0, -(8 << 30)], "replicas": {"m#0": "of the same model"}},
        {"node": "b", "reason": "has no label zone=eu", "ranks": [], "replicas": {"other#1": "pinned"}},
    ]
    return {
        "decisions": list(decisions),
        "candidates": candidates,
        "rank_names": ["no room known", "crowd", "free bytes"],
        "need_bytes": str(3 << 30),
        "fits": True,
        **fields,
    }


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ([decision("PLACE", "a")], "m would be loaded on a."),
        (
            [decision("EVICT", "a", replicas=[{"model": "old", "index": 0}])],
            "m would be loaded on a in place of old#0.",
        ),
        ([decision("SERVE")], "m is served on a."),
        ([decision("JOIN")], "m is being loaded on a."),
        ([decision("WAIT", reason="all are busy")], "m would have to wait: all are busy."),
        ([decision("REFUSE", reason="2 nodes: 2 not healthy")], "m has no place: 2 nodes: 2 not healthy."),
        ([decision("PLACE", "a"), decision("PLACE", "b")], "m would be loaded 2 times: on a, b."),
        (
            [decision("PLACE", "a"), decision("REFUSE", reason="no room")],
            "m would be loaded on a; one more has no place: no room.",
        ),
    ],
)
def test_a_decision_in_a_sentence(decisions: list[dict[str, Any]], said: str) -> None:
    assert sentence("m", an_answer(*decisions)) == said


class FakeEndpoint:
    def __init__(self, answer: dict[str, Any] | CallFailed) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def order(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        if isinstance(self.answer, CallFailed):
            raise self.answer
        return self.answer


def run(endpoint: FakeEndpoint, *, as_json: bool = False) -> int:
    return run_explain(endpoint, "m", replicas=2, without=["c"], as_json=as_json)  # type: ignore[arg-type]


def test_candidates_are_shown_with_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = FakeEndpoint(an_answer(decision("PLACE", "a")))
    assert run(endpoint) == 0
    assert endpoint.asked == [
        {"model_name": "m", "replica_count": 2, "what_if": {"remove_nodes": ["c"]}},
    ]
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "m would be loaded on a.",
        "A replica is taken to need 3.0 GiB.",
        "",
        "node free what runs there",
        "a chosen 8.0 GiB m#0 (of the same model)",
        "b has no label zone=eu other#1 (pinned)",
    ]


def test_a_misfit_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    answer = an_answer(decision("REFUSE", reason="no room"), fits=False)
    assert run(FakeEndpoint(answer), as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == answer


def test_a_failed_call_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeEndpoint(CallFailed("the model 'm' does not exist"))) == 1
    assert capsys.readouterr().err == "weft: the model 'm' does not exist\n"
