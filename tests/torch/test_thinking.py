"""Models that think, in the engines that read thoughts out of the text: as llama.cpp's library does it itself."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.thinker import OPEN_TEMPLATE, TEMPLATE
from tests.torch.exllamav2.cpu import CpuRuntime
from tests.worker.engines.answers import question
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    Delta,
    Engine,
    EngineModel,
    Finished,
    Generation,
    JsonForm,
    Message,
    ReasoningDelta,
    Role,
    Thinking,
)
from weft_worker.engines.exllamav2 import ExLlamaV2Engine
from weft_worker.engines.transformers import TransformersEngine

pytestmark = pytest.mark.torch

THINK = "Say: <think>hm</think> hello"


@pytest.fixture(params=["transformers", "exllamav2"])
def made(request: pytest.FixtureRequest) -> Any:
    """Each engine in turn."""
    return TransformersEngine() if request.param == "transformers" else ExLlamaV2Engine(CpuRuntime())


async def _loaded(engine: Any, tiny_folder: Path, folder: Path, template: str) -> Any:
    shutil.copytree(tiny_folder, folder)
    (folder / "chat_template.jinja").write_text(template)
    await engine.load(EngineModel("m", str(folder), 512, slot_count=2), lambda _: None)
    return engine


@pytest_asyncio.fixture
async def engine(made: Any, tiny_folder: Path, tmp_path: Path) -> AsyncIterator[Any]:
    """One that thinks if it wishes to."""
    yield await _loaded(made, tiny_folder, tmp_path / "model", TEMPLATE)
    await made.close()


@pytest_asyncio.fixture
async def musing(made: Any, tiny_folder: Path, tmp_path: Path) -> AsyncIterator[Any]:
    """One that always thinks."""
    yield await _loaded(made, tiny_folder, tmp_path / "model", OPEN_TEMPLATE)
    await made.close()


async def _ask(engine: Engine, asked: Generation) -> tuple[str, str, Finished]:
    thoughts, text = "", ""
    async with aclosing(engine.generate(asked)) as events:
        async for event in events:
            if isinstance(event, ReasoningDelta):
                thoughts += event.text
            elif isinstance(event, Delta):
                text += event.text
            elif isinstance(event, Finished):
                return thoughts, text, event
    raise AssertionError("no end")


async def test_thoughts_are_told_apart_and_the_switch_reaches_the_template(engine: Any) -> None:
    assert engine.thinks()
    thoughts, text, end = await _ask(engine, question(THINK))
    assert (thoughts, bool(text), text.startswith("<think>")) == ("hm", True, False)
    assert 0 < end.usage.reasoning_token_count < end.usage.completion_token_count
    thoughts, text, on = await _ask(engine, question("Hello"))
    assert (thoughts, text, on.usage.reasoning_token_count) == ("", "Hello! How can I help you today?", 0)
    _, _, off = await _ask(engine, replace(question("Hello"), thinking=Thinking(False)))
    assert off.usage.prompt_token_count > on.usage.prompt_token_count
    hello = question("Hello").messages
    for end, thinking in ((on, None), (off, Thinking(False))):
        counted = await engine.tokenize(Conversation(hello, thinking=thinking))
        assert len(counted.ids) == end.usage.prompt_token_count
    asked = (Message(Role.USER, "2+2"), Message(Role.ASSISTANT, "4", reasoning="two and two"))
    with_thought = await engine.tokenize(Conversation(asked))
    without = await engine.tokenize(Conversation((asked[0], replace(asked[1], reasoning=""))))
    assert len(with_thought.ids) > len(without.ids)


async def test_a_template_may_begin_with_a_thought_but_a_form_is_an_answer(musing: Any) -> None:
    thoughts, text, _ = await _ask(musing, question("Tell me a story.", max_tokens=12, ignore_eos=True))
    assert thoughts
    assert text == ""
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False}
    form = JsonForm(json.dumps({**schema, "required": ["a"]}))
    thoughts, text, _ = await _ask(musing, replace(question(), form=form))
    assert (thoughts, json.loads(text)) == ("", {"a": 1})
