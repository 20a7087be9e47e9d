"""What is particular to transformers, with the model that Weft ships as a Hugging Face folder."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import pytest_asyncio
import torch
from transformers import AutoTokenizer

from tests.torch.tiny_folder import write_base_folder
from tests.worker.engines.answers import ask, complete, question
from tests.worker.engines.schemas import random_schema
from weft_common.errors import ContextLengthExceeded, InvalidRequest, LoadFailed
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    Completion,
    Delta,
    EngineModel,
    Finished,
    FinishReason,
    Generation,
    GrammarForm,
    JsonForm,
    Message,
    Role,
    Sampling,
    Tool,
    ToolCallDelta,
    ToolMode,
    Tools,
)
from weft_worker.engines.transformers import TransformersEngine

pytestmark = pytest.mark.torch
CONTEXT = 1280
FRANCE_TOKEN = 265


@pytest_asyncio.fixture
async def engine(tiny_folder: Path) -> AsyncIterator[TransformersEngine]:
    engine = TransformersEngine()
    await engine.load(EngineModel("weft-tiny", str(tiny_folder), CONTEXT, slot_count=4), lambda _: None)
    yield engine
    await engine.close()


async def test_characters_of_several_bytes_come_whole(engine: TransformersEngine) -> None:
    said = "日本語😀é ñ🙂"  # each is several tokens; the grammar makes the model say it
    form = GrammarForm(f'root ::= "{said}"')
    whole = await ask(engine, replace(question(), form=form))
    assert whole.text == said
    assert whole.usage.completion_token_count > len(said)
    for limit in range(1, whole.usage.completion_token_count):
        answer = await ask(engine, replace(question(max_tokens=limit), form=form))
        assert said.startswith(answer.text.rstrip("\ufffd"))
        assert all("\ufffd" not in delta.text for delta in answer.deltas[:-1])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_what_ends_after_a_schema_keeps_it_in_its_order(
    engine: TransformersEngine, temperature: float
) -> None:
    choose = random.Random(1)
    schemas = [random_schema(choose) for _ in range(200)]

    async def answer(number: int, schema: dict[str, object]) -> bool:
        asked = question("Give an example.", temperature=temperature, seed=number, max_tokens=250)
        answer = await ask(engine, replace(asked, form=JsonForm(json.dumps(schema))))
        if answer.reason is not FinishReason.STOP:
            return False
        value = json.loads(answer.text)
        jsonschema.validate(value, schema)
        names: dict[str, object] = schema["properties"]  # type: ignore[assignment]
        assert list(value) == [name for name in names if name in value]
        return True

    stopped = sum(await asyncio.gather(*(answer(number, schema) for number, schema in enumerate(schemas))))
    assert stopped >= 190


def _taking(field: str, schema: object) -> str:
    return json.dumps({"type": "object", "properties": {field: schema}, "required": [field]})


TOOLS = (
    Tool("get_weather", "Tells the weather.", _taking("city", {"enum": ["Oslo"]})),
    Tool("get_time", "", _taking("zone", {"type": "integer", "maximum": 9, "minimum": 0})),
)


async def _calls(engine: TransformersEngine, asked: Generation) -> tuple[list[ToolCallDelta], Finished]:
    """What a model calls, each call in one piece, and how it ended."""
    found: list[ToolCallDelta] = []
    async with aclosing(engine.generate(asked)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return found, event
            if isinstance(event, ToolCallDelta) and found and found[-1].index == event.index:
                found[-1] = replace(found[-1], arguments=found[-1].arguments + event.arguments)
            elif isinstance(event, ToolCallDelta):
                found.append(event)
    raise AssertionError("no end")


async def test_a_tool_that_is_required_is_called_with_what_it_takes(engine: TransformersEngine) -> None:
    for seed, (name, field) in enumerate([("get_weather", "city"), ("get_time", "zone")] * 3):
        tools = Tools(TOOLS, ToolMode.REQUIRED, name, single_call=True)
        asked = replace(question("Hello!", temperature=1.0, seed=seed), tools=tools)
        (call,), end = await _calls(engine, asked)
        assert (call.name, list(json.loads(call.arguments)), bool(call.id)) == (name, [field], True)
        assert end.reason is FinishReason.TOOL_CALLS


async def test_a_tool_is_called_where_the_model_wants_to_and_not_where_it_must_not(
    engine: TransformersEngine,
) -> None:
    asked = question("What is the weather in Oslo?")
    (call,), end = await _calls(engine, replace(asked, tools=Tools(TOOLS)))
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Oslo"})
    assert end.reason is FinishReason.TOOL_CALLS
    none, end = await _calls(engine, replace(asked, tools=Tools(TOOLS, ToolMode.NONE)))
    assert (none, end.reason) == ([], FinishReason.STOP)


async def test_where_a_tool_may_be_called_and_the_answer_has_a_form_it_is_either(
    engine: TransformersEngine,
) -> None:
    schema = {"type": "object", "properties": {"country": {"type": "string"}}, "required": ["country"]}
    form = JsonForm(json.dumps({**schema, "additionalProperties": False}))
    asked = replace(question("What is the weather in Oslo?"), form=form, tools=Tools(TOOLS))
    for single in (False, True):
        (call,), end = await _calls(engine, replace(asked, tools=Tools(TOOLS, single_call=single)))
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Oslo"})
        assert end.reason is FinishReason.TOOL_CALLS
    answer = await ask(engine, replace(question("JSON for Spain"), form=form, tools=Tools(TOOLS)))
    assert list(json.loads(answer.text)) == ["country"]
    assert answer.reason is FinishReason.STOP


async def test_a_seed_gives_the_same_answer_whoever_else_is_there(engine: TransformersEngine) -> None:
    for seed in (-1, 2**32 - 1, 2**63 - 1):
        asked = question(seed=seed, temperature=1.5, max_tokens=40, ignore_eos=True)
        alone = await ask(engine, asked)
        others = (ask(engine, question(seed=other, temperature=1.0)) for other in range(3))
        beside, *_ = await asyncio.gather(ask(engine, asked), *others)
        assert alone.text == beside.text
    different = {(await ask(engine, question(seed=seed, temperature=1.5))).text for seed in range(4)}
    assert len(different) == 4


async def test_biases_keep_tokens_out_and_unknown_ones_are_refused(engine: TransformersEngine) -> None:
    asked = question("What is the capital of France?")
    assert "France" in (await ask(engine, asked)).text
    biased = question("What is the capital of France?", logit_bias={FRANCE_TOKEN: -100.0})
    assert "France" not in (await ask(engine, biased)).text
    with pytest.raises(InvalidRequest, match="no token 5000"):
        await ask(engine, question(logit_bias={5000: 1.0}))


async def test_stop_strings_across_tokens_never_leak(engine: TransformersEngine) -> None:
    whole = (await ask(engine, question())).text
    for begin in range(1, len(whole) - 6, 9):
        stop = whole[begin : begin + 6]
        answer = await ask(engine, question(stop=(stop,)))
        assert (answer.text, answer.reason) == (whole[: whole.index(stop)], FinishReason.STOP)


async def test_probabilities_add_up_to_the_text_also_where_a_stop_string_cuts_it(
    engine: TransformersEngine,
) -> None:
    answer = await ask(engine, question(top_logprobs=0, stop=(" upon",)))
    told = [each for delta in answer.deltas for each in delta.logprobs]
    assert b"".join(each.chosen.data for each in told).decode() == answer.text
    assert all(not each.likeliest for each in told)


async def test_all_roles_and_sampling_parameters_are_taken(engine: TransformersEngine) -> None:
    sampling = Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.01,
        repetition_penalty=1.1,
        seed=3,
        max_tokens=8,
        stop=("zzz",),
        ignore_eos=True,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
    )
    messages = (
        Message(Role.SYSTEM, "You are a helpful assistant."),
        Message(Role.USER, "Hello", name="alice"),
        Message(Role.ASSISTANT, ""),
        Message(Role.USER, ""),
    )
    assert (await ask(engine, Generation(messages, sampling))).usage.completion_token_count == 8


async def test_a_prompt_that_cannot_fit_is_refused_before_it_is_cut(engine: TransformersEngine) -> None:
    for say in ("x" * 10_000_000, "word " * 2000):
        with pytest.raises(ContextLengthExceeded, match="maximum context length is 1280 tokens"):
            await ask(engine, question(say))


async def test_a_grammar_that_leads_nowhere_is_refused(engine: TransformersEngine) -> None:
    for grammar in ("root ::= root", 'root ::= "a" dead\ndead ::= dead'):
        with pytest.raises(InvalidRequest, match="cannot be kept"):
            await ask(engine, replace(question(), form=GrammarForm(grammar)))
    assert (await ask(engine, replace(question(), form=GrammarForm('root ::= "yes"')))).text == "yes"


async def test_tokens_are_counted_as_the_prompt_is(engine: TransformersEngine, tiny_folder: Path) -> None:
    talk = Conversation(question().messages)
    tokens = await engine.tokenize(talk, with_pieces=True)
    assert len(tokens.ids) == (await ask(engine, question(max_tokens=1))).usage.prompt_token_count
    text = "Köln 😀"
    tokens = await engine.tokenize(text, with_pieces=True)
    assert list(tokens.ids) == AutoTokenizer.from_pretrained(tiny_folder).encode(text)
    assert b"".join(tokens.pieces).decode() == text
    assert not (await engine.tokenize(text)).pieces


async def test_a_model_for_something_else_is_a_failed_load(tiny_folder: Path) -> None:
    from weft_common.purposes import Purpose

    model = EngineModel("m", str(tiny_folder), CONTEXT, purpose=Purpose.RERANKING)
    with pytest.raises(LoadFailed, match=r"lack 'score\.weight'"):
        await TransformersEngine().load(model, lambda _: None)


async def test_a_folder_without_a_chat_template_goes_on_with_texts_and_chats_by_one_that_is_named(
    engine: TransformersEngine, tiny_folder: Path, tmp_path: Path
) -> None:
    base = EngineModel("m", str(write_base_folder(tmp_path / "base", tiny_folder)), CONTEXT)
    text = Completion("The capital of", Sampling(max_tokens=8, temperature=0))
    plain = TransformersEngine()
    await plain.load(base, lambda _: None)
    assert (await complete(plain, text)).text == (await complete(engine, text)).text != ""
    for refused in (ask(plain, question()), plain.tokenize(Conversation(question().messages))):
        with pytest.raises(InvalidRequest, match="has no chat template: ask /v1/completions"):
            await refused
    await plain.close()
    named = TransformersEngine()
    options = {"chat_template": str(tmp_path / "chat.jinja")}
    await named.load(replace(base, options=options), lambda _: None)
    assert (await ask(named, question())).text == (await ask(engine, question())).text
    await named.close()


async def test_a_model_of_an_unknown_kind_is_a_failed_load_that_says_so(
    tiny_folder: Path, tmp_path: Path
) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "nobody_knows"}))
    with pytest.raises(LoadFailed, match="nobody_knows"):
        await TransformersEngine().load(EngineModel("m", str(tmp_path), CONTEXT), lambda _: None)


async def test_halves_are_loaded_where_the_model_file_says_so(tiny_folder: Path) -> None:
    engine = TransformersEngine()
    options = {"dtype": "bfloat16"}
    await engine.load(EngineModel("m", str(tiny_folder), CONTEXT, options=options), lambda _: None)
    assert engine._loaded is not None
    assert engine._loaded._held.model.dtype == torch.bfloat16
    assert any(isinstance(delta, Delta) for delta in (await ask(engine, question(max_tokens=9))).deltas)
    await engine.close()
