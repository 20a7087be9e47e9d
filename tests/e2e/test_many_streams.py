"""Many streams at once: more than there are slots, and more than proxies take by default."""

from pathlib import Path

import pytest

from tests.e2e.crowd import Answer, ask_all, chat, crowd
from tests.e2e.stack import Stack, eventually
from tests.faults import ReplicaDoor

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def models(stack: Stack) -> None:
    stack.write_model("narrow", parallel=4, max_queue=64)
    stack.add_model("wide", parallel=1500, max_queue=600)


def words(count: int) -> str:
    """What the paced engine says in so many tokens."""
    return "".join(f"t{n} " for n in range(count))


def ids_of(answer: Answer) -> set[str]:
    return {event["id"] for event in answer.events()}


def test_50_streams_over_4_slots_are_each_complete_and_their_own(stack: Stack) -> None:
    answers = ask_all(stack, [chat("narrow", f"tokens={n} delay_ms=2", stream=True) for n in range(10, 60)])
    assert all(answer.done for answer in answers)
    assert [answer.text for answer in answers] == [words(n) for n in range(10, 60)]
    assert all(len(ids_of(answer)) == 1 for answer in answers)
    assert len(set.union(*map(ids_of, answers))) == 50


def test_2000_streams_open_at_once_end_well(stack: Stack, tmp_path: Path) -> None:
    assert stack.chat("wide", "tokens=1").status_code == 200
    door = ReplicaDoor(stack.home, stack.part("replica:local/wide").address)
    gate = tmp_path / "gate"
    body = chat("wide", f"tokens=3 delay_ms=500 gate_file={gate}", stream=True)
    with crowd(stack, [body] * 2000) as asked:
        eventually(lambda: door.busy() == (1500, 500), what="2,000 streams open", seconds=60)
        gate.touch()
    assert [a.status for a in asked.answers if not a.done] == []
    assert {answer.text for answer in asked.answers} == {words(3)}
