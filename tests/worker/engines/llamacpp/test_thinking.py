"""Models that think, in llama.cpp: thoughts are no part of answers, and templates that have a switch get to know it."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.thinker import OPEN_TEMPLATE, TEMPLATE, write_thinker
from tests.worker.engines.answers import question
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    Delta,
    EngineModel,
    Finished,
    FinishReason,
    Generation,
    GrammarForm,
    JsonForm,
    Message,
    ReasoningDelta,
    Role,
    Thinking,
    Tool,
    ToolCallDelta,
    ToolMode,
    Tools,
)
from weft_worker.engines.llamacpp import LlamaCppEngine

THINK = "Say: <think>hm</think> hello"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def loaded(path: Path) -> LlamaCppEngine:
    engine = LlamaCppEngine()
    await engine.load(EngineModel("m", str(path), 512), lambda _: None)
    return engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppEngine]:
    """One that thinks if it wishes to."""
    engine = await loaded(write_thinker(tmp_path_factory.mktemp("m") / "m.gguf", TEMPLATE))
    yield engine
    await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def musing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppEngine]:
    """One that always thinks."""
    engine = await loaded(write_thinker(tmp_path_factory.mktemp("m") / "m.gguf", OPEN_TEMPLATE))
    yield engine
    await engine.close()


async def ask(engine: LlamaCppEngine, asked: Generation) -> tuple[str, str, Finished]:
    """What is thought, what is said, and the end."""
    thoughts, texts = "", ""
    async with aclosing(engine.generate(asked)) as events:
        async for event in events:
            match event:
                case ReasoningDelta():
                    assert event.text
                    assert not texts, "it thinks first"
                    thoughts += event.text
                case Delta():
                    texts += event.text
                case Finished():
                    return thoughts, texts, event
                case ToolCallDelta():
                    texts += event.arguments
    raise AssertionError("no end")


async def test_a_thought_is_told_apart_from_the_answer(engine: LlamaCppEngine) -> None:
    thoughts, text, end = await ask(engine, question(THINK))
    assert thoughts == "hm"
    assert "<think>" not in text
    assert text.strip()
    assert 0 < end.usage.reasoning_token_count < end.usage.completion_token_count


async def test_an_answer_without_a_thought_is_all_text(engine: LlamaCppEngine) -> None:
    thoughts, text, end = await ask(engine, question("Hello"))
    assert (thoughts, text) == ("", "Hello! How can I help you today?")
    assert end.usage.reasoning_token_count == 0


async def test_probabilities_are_told_of_the_answer_only(engine: LlamaCppEngine) -> None:
    told, text = b"", ""
    async with aclosing(engine.generate(question(THINK, top_logprobs=0))) as events:
        async for event in events:
            if isinstance(event, Delta):
                text += event.text
                told += b"".join(each.chosen.data for each in event.logprobs)
    assert text
    assert told.decode() == text


async def test_the_switch_reaches_the_template(engine: LlamaCppEngine) -> None:
    counts = {}
    for thinking in (None, Thinking(True), Thinking(False)):
        _, _, end = await ask(engine, replace(question("Hello", max_tokens=2), thinking=thinking))
        counts[thinking] = end.usage.prompt_token_count
        counted = await engine.tokenize(Conversation(question("Hello").messages, thinking=thinking))
        assert len(counted.ids) == counts[thinking]
    assert counts[None] == counts[Thinking(True)] < counts[Thinking(False)]


async def test_what_was_thought_before_reaches_the_template(engine: LlamaCppEngine) -> None:
    said = Message(Role.ASSISTANT, "4", reasoning="two and two")
    asked = (Message(Role.USER, "2+2"), said)
    with_thought = await engine.tokenize(Conversation(asked))
    without = await engine.tokenize(Conversation((asked[0], replace(said, reasoning=""))))
    assert len(with_thought.ids) > len(without.ids)
    _, _, end = await ask(engine, replace(question(max_tokens=1), messages=asked))
    assert end.usage.prompt_token_count == len(with_thought.ids)


@pytest.mark.parametrize("always", [False, True])
async def test_an_answer_with_a_form_is_no_thought(
    always: bool, engine: LlamaCppEngine, musing: LlamaCppEngine
) -> None:
    engine = musing if always else engine
    schema = json.dumps(
        {
            "type": "object",
            "properties": {"a": {"const": 1}},
            "required": ["a"],
            "additionalProperties": False,
        }
    )
    thoughts, text, end = await ask(engine, replace(question(), form=JsonForm(schema)))
    assert (thoughts, json.loads(text), end.reason) == ("", {"a": 1}, FinishReason.STOP)
    said = await ask(engine, replace(question(top_logprobs=0), form=GrammarForm('root ::= "yes"')))
    assert said[:2] == ("", "yes")
    tools = Tools((Tool("f", "", '{"type": "object", "properties": {}}'),), ToolMode.REQUIRED)
    thoughts, text, end = await ask(engine, replace(question(), tools=tools))
    assert (thoughts, text, end.reason) == ("", "{}", FinishReason.TOOL_CALLS)


async def test_a_template_that_begins_with_a_thought_tells_it_from_its_first_word(
    musing: LlamaCppEngine,
) -> None:
    thoughts, text, end = await ask(musing, question("Tell me a story.", max_tokens=12, ignore_eos=True))
    assert thoughts
    assert thoughts[0] == thoughts[0].strip()
    assert (text, end.reason) == ("", FinishReason.LENGTH)


async def test_who_thinks_says_so(engine: LlamaCppEngine, musing: LlamaCppEngine) -> None:
    plain: Any = LlamaCppEngine()
    assert (engine.thinks(), musing.thinks(), plain.thinks()) == (True, True, False)
