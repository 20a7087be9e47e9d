"""What engine tests share: asking an engine, and reading the whole answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import weft_worker
from weft_worker.engines.abilities import Completer
from weft_worker.engines.base import (
    Completion,
    Delta,
    Engine,
    Event,
    Finished,
    FinishReason,
    Generation,
    Message,
    Role,
    Sampling,
    Usage,
)

WEFT_TINY = Path(weft_worker.__file__).with_name("models") / "weft-tiny.gguf"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, and the deltas that it came in."""

    text: str
    reason: FinishReason
    usage: Usage
    deltas: tuple[Delta, ...]
    stop_sequence: str = ""


def question(say: str = "Tell me a story.", **sampling: Any) -> Generation:
    """Ask as a user; the answer is repeatable unless said otherwise."""
    return Generation((Message(Role.USER, say),), Sampling(**{"temperature": 0.0, "seed": 1, **sampling}))


async def ask(engine: Engine, generation: Generation) -> Answer:
    """Generate to the end, which is one Finished and nothing after it."""
    return await _whole(engine.generate(generation))


async def complete(engine: Completer, completion: Completion) -> Answer:
    """Go on with a text to the end; the same."""
    return await _whole(engine.complete(completion))


async def _whole(answer: AsyncGenerator[Event, None]) -> Answer:
    deltas: list[Delta] = []
    ends: list[Finished] = []
    async with aclosing(answer) as events:
        async for event in events:
            assert not ends, "something came after the end"
            if isinstance(event, Delta):
                deltas.append(event)
            else:
                assert isinstance(event, Finished)
                ends.append(event)
    (end,) = ends
    return Answer(
        "".join(delta.text for delta in deltas), end.reason, end.usage, tuple(deltas), end.stop_sequence
    )
