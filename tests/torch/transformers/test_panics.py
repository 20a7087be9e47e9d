"""Native code that panics, which is no Exception: whose fault fails whom, and that nobody waits for ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.worker.engines.answers import ask, question
from weft_common.errors import EngineFailed
from weft_worker.engines.base import Delta, EngineModel, JsonForm
from weft_worker.engines.guidance import Guidance
from weft_worker.engines.transformers import TransformersEngine
from weft_worker.engines.transformers import engine as engine_module
from weft_worker.engines.transformers.answer import Answer
from weft_worker.engines.transformers.batch import Batch
from weft_worker.engines.transformers.runner import Runner

pytestmark = pytest.mark.torch
WAIT_SECONDS = 20
FORMED = replace(question(), form=JsonForm('{"type": "integer"}'))


class _Panic(BaseException):
    """As pyo3 raises where Rust has panicked."""


def _panics(*_: object, **__: object) -> None:
    raise _Panic("index out of bounds")


@pytest.fixture
def ended() -> asyncio.Event:
    """Whether the process was to end."""
    return asyncio.Event()


@pytest_asyncio.fixture
async def engine(
    tiny_folder: Path, ended: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TransformersEngine]:
    monkeypatch.setattr(engine_module, "_LAST_WORDS_SECONDS", 0.0)
    engine = TransformersEngine(end_process=ended.set)
    await engine.load(EngineModel("weft-tiny", str(tiny_folder), 512, slot_count=4), lambda _: None)
    yield engine
    await engine.close()


async def test_a_panic_in_a_step_fails_all_that_run_and_the_next_is_answered(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch, ended: asyncio.Event
) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        with monkeypatch.context() as patch:
            patch.setattr(Batch, "step", _panics)
            told = await asyncio.gather(*(ask(engine, question()) for _ in range(2)), return_exceptions=True)
        assert [type(each) for each in told] == [EngineFailed] * 2
        assert all("index out of bounds" in str(each) for each in told)
        assert (await ask(engine, question())).text
    assert not ended.is_set()


@pytest.mark.parametrize("part", ["forbid_others", "advance", "must_end"])
async def test_a_panic_over_an_answers_form_fails_that_answer_alone(
    part: str, engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guidance, part, property(_panics) if part == "must_end" else _panics)
    await _fails_alone(engine, lambda: ask(engine, FORMED))


async def test_a_panic_over_an_answers_text_fails_that_answer_alone(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Answer.read

    def read_or_panic(answer: Answer, token: int, logprob: object) -> object:
        return _panics() if answer._stop else read(answer, token, None)

    monkeypatch.setattr(Answer, "read", read_or_panic)
    await _fails_alone(engine, lambda: ask(engine, question(stop=("never",))))


async def _fails_alone(engine: TransformersEngine, fail: Callable[[], object]) -> None:
    async with (
        asyncio.timeout(WAIT_SECONDS),
        aclosing(engine.generate(question(ignore_eos=True))) as running,
    ):
        await anext(running)
        with pytest.raises(EngineFailed, match="index out of bounds"):
            await fail()  # type: ignore[misc]
        assert isinstance(await anext(running), Delta)


async def test_a_thread_that_ends_by_itself_leaves_nobody_waiting_and_ends_the_process(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch, ended: asyncio.Event
) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        async with aclosing(engine.generate(question(ignore_eos=True))) as running:
            await anext(running)
            monkeypatch.setattr(Runner, "_take_commands", _panics)
            with pytest.raises(EngineFailed, match="index out of bounds"):
                async for _ in running:
                    pass
        for _ in range(2):
            with pytest.raises(EngineFailed, match="transformers cannot go on"):
                await ask(engine, question())
        await ended.wait()
