"""A client that leaves frees what it held, wherever its request stands, before the engine has done much more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.crowd import Crowd, ask_all, chat, crowd
from tests.e2e.stack import Stack, eventually
from tests.faults import ReplicaDoor

pytestmark = pytest.mark.e2e

MODEL = "left"
SLOTS = 2
CROWD = 6
# The engine pauses 5 ms for each token, so this many are a second's work.
MOST_TOKENS = 200
ENDLESS = "tokens=100000 delay_ms=5"


class Counters:
    """One file for each request, which grows by a byte a token."""

    def __init__(self, folder: Path) -> None:
        self._files = [folder / f"tokens-{n}" for n in range(CROWD)]

    def words(self, words: str) -> list[str]:
        return [f"{words} count_file={file}" for file in self._files]

    @property
    def tokens(self) -> list[int]:
        return [file.stat().st_size if file.exists() else 0 for file in self._files]


@pytest.fixture
def counters(tmp_path: Path) -> Counters:
    return Counters(tmp_path)


@pytest.fixture(scope="module")
def door(stack: Stack) -> Iterator[ReplicaDoor]:
    stack.add_model(MODEL, parallel=SLOTS, max_queue=64, context_size=1_000_000)
    answer = stack.chat(MODEL, "tokens=1")
    assert answer.status_code == 200, answer.text
    return ReplicaDoor(stack.home, stack.part(f"replica:local/{MODEL}").address)


def seen(stack: Stack, door: ReplicaDoor) -> tuple[int, int]:
    """How many requests hold a slot, and how many wait for one: at the replica, where few do, and at the router."""
    working, queued = door.busy()
    return working, queued + stack.waiting(MODEL)


def assert_left_in_time(stack: Stack, door: ReplicaDoor, asked: Crowd, counters: Counters) -> None:
    before = counters.tokens
    asked.leave()
    eventually(lambda: seen(stack, door) == (0, 0), what="slots and queue free")
    after = counters.tokens
    assert max(b - a for a, b in zip(before, after, strict=True)) <= MOST_TOKENS
    assert ask_all(stack, [chat(MODEL, "tokens=1")])[0].ok
    assert counters.tokens == after


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "buffered"])
def test_while_answers_are_made(stack: Stack, door: ReplicaDoor, counters: Counters, stream: bool) -> None:
    with crowd(stack, [chat(MODEL, words, stream=stream) for words in counters.words(ENDLESS)]) as asked:
        eventually(lambda: sum(tokens > 10 for tokens in counters.tokens) == SLOTS, what="tokens")
        eventually(lambda: seen(stack, door) == (SLOTS, CROWD - SLOTS), what="the others wait")
        assert_left_in_time(stack, door, asked, counters)


def test_while_prompts_are_read(stack: Stack, door: ReplicaDoor, counters: Counters, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    words = counters.words(f"{ENDLESS} gate_file={gate}")
    with crowd(stack, [chat(MODEL, w, stream=True) for w in words]) as asked:
        eventually(lambda: seen(stack, door) == (SLOTS, CROWD - SLOTS), what="all there")
        asked.leave()
        eventually(lambda: seen(stack, door) == (0, 0), what="slots and queue free")
        gate.touch()
    assert ask_all(stack, [chat(MODEL, "tokens=1")])[0].ok
    assert counters.tokens == [0] * CROWD


def test_while_waiting_in_the_queue(
    stack: Stack, door: ReplicaDoor, counters: Counters, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with crowd(stack, [chat(MODEL, f"tokens=2 gate_file={gate}") for _ in range(SLOTS)]) as working:
        eventually(lambda: door.busy() == (SLOTS, 0), what="slots taken")
        with crowd(stack, [chat(MODEL, words) for words in counters.words(ENDLESS)]) as asked:
            eventually(lambda: seen(stack, door) == (SLOTS, CROWD), what="queued")
            asked.leave()
        eventually(lambda: seen(stack, door) == (SLOTS, 0), what="queue empty")
        gate.touch()
    assert all(answer.ok for answer in working.answers)
    assert counters.tokens == [0] * CROWD


def test_while_the_model_loads(stack: Stack, counters: Counters) -> None:
    stack.add_model("slow-to-load", parallel=SLOTS, options={"load_delay_ms": "2500"})
    with crowd(stack, [chat("slow-to-load", words) for words in counters.words(ENDLESS)]) as asked:
        eventually(lambda: stack.parts("replica:local/slow-to-load"), what="load begun")
        asked.leave()
    assert not any(answer.status for answer in asked.answers), "the load was over too soon"
    # The load goes on without them, and whoever comes next has the model to himself.
    assert ask_all(stack, [chat("slow-to-load", "tokens=1")])[0].ok
    door = ReplicaDoor(stack.home, stack.part("replica:local/slow-to-load").address)
    assert door.status().started_count == 1
    assert counters.tokens == [0] * CROWD


def test_over_http2(stack: Stack, door: ReplicaDoor, tmp_path: Path) -> None:
    count = tmp_path / "tokens"
    messages = [{"role": "user", "content": f"{ENDLESS} count_file={count}"}]
    with stack.stream(MODEL, http2=True, messages=messages) as pieces:
        next(pieces)
        before = count.stat().st_size
    eventually(lambda: door.busy() == (0, 0), what="slot free")
    assert count.stat().st_size - before <= MOST_TOKENS
