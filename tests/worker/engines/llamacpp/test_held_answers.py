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
from weft_worker.engines.json_form import check_schema
from weft_worker.engines.llamacpp import LlamaCppEngine

SIZE = {"type": "object", "properties": {"size": {"enum": ["small", "large"]}}, "required": ["size"]}
CITY = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]}
# All that the check lets pass; xllamacpp has a version of llguidance of its own.
KEPT: list[dict[str, object]] = [
    *(
        {"type": "string", "format": name}
        for name in (
            "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
        )
    ),
    {"type": "string", "minLength": 2, "maxLength": 5},
    {"type": "string", "pattern": "^a+b?$"},
    {"type": "integer", "minimum": 3, "exclusiveMaximum": 9},
    {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 4},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    {"type": "array", "prefixItems": [{"const": 1}], "items": False},
    {"type": "object", "patternProperties": {"^a$": {"type": "null"}}, "maxProperties": 1},
    {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 1, "maxProperties": 1},
    {"type": ["string", "null"], "enum": ["x", None]},
    {"anyOf": [{"const": "x"}, {"type": "null"}]},
    {"oneOf": [{"const": "x"}, {"type": "null"}]},
    {"allOf": [{"type": "integer"}, {"minimum": 3}]},
    {"$ref": "#/$defs/x"},
]  # fmt: skip
WEATHER = Tools((Tool("get_weather", "", json.dumps(CITY)),), ToolMode.REQUIRED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaCppEngine]:
    engine = LlamaCppEngine()
    await engine.load(EngineModel("weft-tiny", str(WEFT_TINY), 512, slot_count=2), lambda _: None)
    yield engine
    await engine.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("kept", KEPT, ids=json.dumps)
async def test_what_the_check_lets_pass_the_library_keeps(
    engine: LlamaCppEngine, kept: dict[str, object]
) -> None:
    schema = {"type": "object", "properties": {"e": kept}, "required": ["e"], "$defs": {"x": {"const": "x"}}}
    form = JsonForm(json.dumps(schema))
    check_schema(form.schema, "response_format")
    assert (await ask(engine, replace(question("Hello", max_tokens=30), form=form))).text.startswith('{"e": ')


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


ODD: list[object] = [{"type": "array", "items": True}, True, {"$ref": "#"}, {"enum": []}, {"type": "file"}]
# Those of which it would make a grammar without end, or one that it cannot read again.
ODD += [
    {"type": "integer", "minimum": -(2**63), "maximum": -(2**63) + 5},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2**40},
    {"type": "string", "minLength": 100_000, "maxLength": 200_000},
    {"const": -(2**63)},
]


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
