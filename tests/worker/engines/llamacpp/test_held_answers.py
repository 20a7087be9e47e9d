"""Answers that are held to something, with requests for what does not go with that."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.worker.engines.answers import WEFT_TINY, ask, question
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    EngineModel,
    FinishReason,
    Form,
    GrammarForm,
    JsonForm,
    Tool,
    ToolCallDelta,
    ToolMode,
    Tools,
)
from weft_worker.engines.llamacpp import LlamaCppEngine

SIZE = {"type": "object", "properties": {"size": {"enum": ["small", "large"]}}, "required": ["size"]}
CITY = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]}
WEATHER = Tools((Tool("get_weather", "", json.dumps(CITY)),), ToolMode.REQUIRED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaCppEngine]:
    engine = LlamaCppEngine()
    await engine.load(EngineModel("weft-tiny", str(WEFT_TINY), 512, slot_count=2), lambda _: None)
    yield engine
    await engine.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("form", [JsonForm(json.dumps(SIZE)), GrammarForm('root ::= "yes" | "no"')])
async def test_a_form_ends_the_answer_also_where_the_end_is_to_be_ignored(
    engine: LlamaCppEngine, form: Form
) -> None:
    asked = replace(question("Hello", max_tokens=60), form=form)
    ignoring = replace(asked, sampling=replace(asked.sampling, ignore_eos=True))
    answer = await ask(engine, ignoring)
    assert (answer.text, answer.reason) == ((await ask(engine, asked)).text, FinishReason.STOP)


@pytest.mark.parametrize("stop", ["Par", "{", "}", "name"])
async def test_a_stop_string_does_not_cut_a_call_that_has_to_be(engine: LlamaCppEngine, stop: str) -> None:
    asked = replace(question("Hello", stop=(stop,), ignore_eos=True, max_tokens=60), tools=WEATHER)
    events = [event async for event in engine.generate(asked)]
    arguments = "".join(each.arguments for each in events if isinstance(each, ToolCallDelta))
    assert json.loads(arguments) == {"city": "Paris"}
    assert events[-1].reason is FinishReason.TOOL_CALLS


ODD = [{"type": "array", "items": True}, True, {"$ref": "#"}, {"enum": []}, {"type": "file"}]


@pytest.mark.parametrize("odd", ODD)
async def test_a_tool_with_a_schema_that_the_library_cannot_read_is_offered_all_the_same(
    engine: LlamaCppEngine, odd: object
) -> None:
    properties = {"city": {"type": "string"}, "odd": odd}
    schema = {"type": "object", "properties": properties, "required": ["city"]}
    tools = Tools((Tool("get_weather", "", json.dumps(schema)),))
    asked = replace(question("What is the weather in Paris?"), tools=tools)
    events = [event async for event in engine.generate(asked)]
    arguments = "".join(each.arguments for each in events if isinstance(each, ToolCallDelta))
    assert json.loads(arguments)["city"] == "Paris"
    conversation = Conversation(asked.messages, tools.tools)
    assert (await engine.tokenize(conversation)).ids
