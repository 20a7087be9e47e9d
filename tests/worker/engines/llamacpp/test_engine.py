"""What is particular to llama.cpp, with the model that Weft ships."""

import asyncio
import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import pytest_asyncio

from tests.worker.engines.answers import WEFT_TINY, ask, question
from tests.worker.engines.schemas import random_schema
from weft_common.errors import ContextLengthExceeded, InvalidRequest, LoadFailed
from weft_worker.engines.base import (
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
from weft_worker.engines.llamacpp import LlamaCppEngine
from weft_worker.engines.llamacpp import engine as engine_module

CONTEXT = 1280
# The second half of the word, in the vocabulary of the model.
FRANCE_TOKEN = 265


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[LlamaCppEngine]:
    engine = LlamaCppEngine()
    await engine.load(EngineModel("weft-tiny", str(WEFT_TINY), CONTEXT, slot_count=2), lambda _: None)
    yield engine
    await engine.close()


async def test_characters_of_several_bytes_come_whole(engine: LlamaCppEngine) -> None:
    said = "日本語😀é ñ🙂"  # each is several tokens; the grammar makes the model say it
    form = GrammarForm(f'root ::= "{said}"')
    whole = await ask(engine, replace(question(), form=form))
    assert whole.text == said
    assert whole.usage.completion_token_count > len(said)
    for limit in range(1, whole.usage.completion_token_count):
        assert said.startswith((await ask(engine, replace(question(max_tokens=limit), form=form))).text)


async def test_the_end_tells_which_stop_string_was_found(engine: LlamaCppEngine) -> None:
    whole = await ask(engine, question())
    assert whole.stop_sequence == ""
    # It begins within a token and ends within another one.
    at = next(place for place in range(4, len(whole.text)) if " " in whole.text[place + 1 : place + 4])
    stop = whole.text[at : at + 5]
    stopped = await ask(engine, question(stop=("never said", stop, whole.text[at + 1 : at + 5])))
    assert (stopped.text, stopped.stop_sequence) == (whole.text[: whole.text.index(stop)], stop)
    assert (await ask(engine, question(stop=("never said",)))).stop_sequence == ""


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_what_ends_after_a_schema_keeps_it_in_its_order(
    engine: LlamaCppEngine, temperature: float
) -> None:
    choose, stopped = random.Random(1), 0
    for number in range(200):
        schema = random_schema(choose)
        asked = question("Give an example.", temperature=temperature, seed=number, max_tokens=250)
        answer = await ask(engine, replace(asked, form=JsonForm(json.dumps(schema))))
        if answer.reason is FinishReason.STOP:
            stopped += 1
            value = json.loads(answer.text)
            jsonschema.validate(value, schema)
            assert list(value) == [name for name in schema["properties"] if name in value]
    # docs/weft-tiny.md: the model has learnt to end texts, numbers and lists.
    assert stopped >= 190


async def test_a_schema_that_leads_nowhere_ends_in_a_failure_and_not_in_half_an_answer(
    engine: LlamaCppEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    number = {"type": "number", "minimum": -16, "exclusiveMaximum": -6, "multipleOf": 0.000001}
    schema = {"type": "object", "properties": {"n": number}, "required": ["n"]}
    with pytest.raises(InvalidRequest, match="nothing can follow"):
        await ask(engine, replace(question(), form=JsonForm(json.dumps(schema))))
    await asyncio.sleep(0.1)  # the library writes from a thread of its own
    assert capfd.readouterr().err == "", "what was generated is in the log"


def taking(field: str, schema: object) -> str:
    return json.dumps({"type": "object", "properties": {field: schema}, "required": [field]})


TOOLS = (
    Tool("get_weather", "Tells the weather.", taking("city", {"enum": ["Oslo"]})),
    Tool("get_time", "", taking("zone", {"type": "integer", "maximum": 9, "minimum": 0})),
)


async def calls(engine: LlamaCppEngine, generation: Generation) -> tuple[list[ToolCallDelta], Finished]:
    """What a model calls, each call in one piece, and how it ended."""
    found: list[ToolCallDelta] = []
    async with aclosing(engine.generate(generation)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return found, event
            if isinstance(event, ToolCallDelta) and found and found[-1].index == event.index:
                found[-1] = replace(found[-1], arguments=found[-1].arguments + event.arguments)
            elif isinstance(event, ToolCallDelta):
                found.append(event)
    raise AssertionError("no end")


async def test_a_tool_that_is_required_by_name_is_called_with_what_it_takes(engine: LlamaCppEngine) -> None:
    for seed, (name, field) in enumerate([("get_weather", "city"), ("get_time", "zone")] * 3):
        tools = Tools(TOOLS, ToolMode.REQUIRED, name, single_call=True)
        asked = replace(question("Hello!", temperature=1.0, seed=seed), tools=tools)
        (call,), end = await calls(engine, asked)
        assert (call.name, list(json.loads(call.arguments)), bool(call.id)) == (name, [field], True)
        assert end.reason is FinishReason.TOOL_CALLS


async def test_a_tool_is_called_where_the_model_wants_to_and_not_where_it_must_not(
    engine: LlamaCppEngine,
) -> None:
    asked = question("What is the weather in Oslo?")
    (call,), end = await calls(engine, replace(asked, tools=Tools(TOOLS)))
    assert (call.name, json.loads(call.arguments), end.reason) == (
        "get_weather",
        {"city": "Oslo"},
        FinishReason.TOOL_CALLS,
    )
    none, end = await calls(engine, replace(asked, tools=Tools(TOOLS, ToolMode.NONE)))
    assert (none, end.reason) == ([], FinishReason.STOP)


async def test_where_a_tool_may_be_called_and_the_answer_has_a_form_it_is_either(
    engine: LlamaCppEngine,
) -> None:
    schema = {"type": "object", "properties": {"country": {"type": "string"}}, "required": ["country"]}
    form = JsonForm(json.dumps({**schema, "additionalProperties": False}))
    asked = replace(question("What is the weather in Oslo?"), form=form, tools=Tools(TOOLS))
    (call,), end = await calls(engine, asked)
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Oslo"})
    assert end.reason is FinishReason.TOOL_CALLS
    for tools in (None, Tools(TOOLS), Tools(TOOLS, ToolMode.NONE)):
        answer = await ask(engine, replace(question("JSON for Spain"), form=form, tools=tools))
        assert list(json.loads(answer.text)) == ["country"]
        assert answer.reason is FinishReason.STOP


async def test_a_call_that_is_cut_is_no_answer(engine: LlamaCppEngine) -> None:
    form = JsonForm('{"type": "object"}')
    asked = replace(question("What is the weather in Oslo?", max_tokens=8), form=form, tools=Tools(TOOLS))
    none, end = await calls(engine, asked)
    assert (none, end.reason) == ([], FinishReason.LENGTH)
    async with aclosing(engine.generate(asked)) as events:
        assert [event async for event in events if isinstance(event, Delta)] == []


async def test_tools_that_may_not_be_called_are_not_shown(engine: LlamaCppEngine) -> None:
    asked = question("What is the weather in Oslo?")
    without, with_tools = (
        await ask(engine, asked),
        await ask(engine, replace(asked, tools=Tools(TOOLS, ToolMode.NONE))),
    )
    assert (with_tools.text, with_tools.usage.prompt_token_count) == (
        without.text,
        without.usage.prompt_token_count,
    )
    assert "<tool_call>" not in with_tools.text


async def test_what_looks_like_a_call_is_text_where_no_tool_was_offered(engine: LlamaCppEngine) -> None:
    said = '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>'
    form = GrammarForm(f"root ::= {json.dumps(said)}")
    answer = await ask(engine, replace(question(), form=form))
    assert (answer.text, answer.reason) == (said, FinishReason.STOP)


@pytest.mark.parametrize("grammar", ["root ::= nonsense", "root ::= [z-a]", "root ::= <[99999]>"])
async def test_a_grammar_that_is_none_is_the_callers_mistake(engine: LlamaCppEngine, grammar: str) -> None:
    with pytest.raises(InvalidRequest, match="grammar"):
        await ask(engine, replace(question(), form=GrammarForm(grammar)))
    assert (await ask(engine, question())).text


async def test_biases_keep_tokens_out_and_bring_them_in(engine: LlamaCppEngine) -> None:
    asked = question("What is the capital of France?")
    plain = await ask(engine, asked)
    assert "France" in plain.text
    biased = await ask(
        engine, replace(asked, sampling=replace(asked.sampling, logit_bias={FRANCE_TOKEN: -100.0}))
    )
    assert "France" not in biased.text


async def test_a_repeated_prompt_is_found_in_the_cache(engine: LlamaCppEngine) -> None:
    first = await ask(engine, question(max_tokens=2))
    again = await ask(engine, question(max_tokens=2))
    assert first.usage.prompt_token_count == again.usage.prompt_token_count
    assert again.usage.cached_token_count == again.usage.prompt_token_count - 1


async def test_each_slot_holds_the_whole_context(engine: LlamaCppEngine) -> None:
    answers = await asyncio.gather(*(ask(engine, question(ignore_eos=True, seed=seed)) for seed in (1, 2)))
    totals = [answer.usage.prompt_token_count + answer.usage.completion_token_count for answer in answers]
    assert totals == [CONTEXT, CONTEXT]


async def test_a_seed_beyond_32_bits_is_taken_and_repeats(engine: LlamaCppEngine) -> None:
    for seed in (-1, 2**32 - 1, 2**63 - 1):
        asked = question(seed=seed, temperature=1.5, max_tokens=20)
        assert (await ask(engine, asked)).text == (await ask(engine, asked)).text


async def test_all_roles_and_sampling_parameters_are_taken(engine: LlamaCppEngine) -> None:
    sampling = Sampling(
        temperature=0.5,
        top_p=0.0,
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
    answer = await ask(engine, Generation(messages, sampling))
    assert answer.usage.completion_token_count == 8


@pytest.mark.parametrize("said", ["Once", "Once upon a time ", ""])
async def test_a_conversation_may_end_with_an_answer_whose_text_counts(
    engine: LlamaCppEngine, said: str
) -> None:
    asked = question(max_tokens=20)
    with_answer = replace(asked, messages=(*asked.messages, Message(Role.ASSISTANT, said)))
    answer, without = await ask(engine, with_answer), await ask(engine, asked)
    assert not answer.text.startswith("assistant")
    assert "<|im_" not in answer.text
    longer = replace(asked, messages=(*asked.messages, Message(Role.ASSISTANT, said + " a king lived")))
    count = answer.usage.prompt_token_count
    assert without.usage.prompt_token_count < count < (await ask(engine, longer)).usage.prompt_token_count


async def test_a_prompt_that_is_still_read_is_cancelled_before_its_end(engine: LlamaCppEngine) -> None:
    # Both slots at once: each would need many times the prompt's time if the library went on.
    for _ in range(4):
        events = engine.generate(question("hello " * 400))
        reading = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await events.aclose()
    assert (await ask(engine, question(max_tokens=1))).usage.completion_token_count == 1


async def test_a_prompt_that_cannot_fit_never_reaches_the_library(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "encode_request", None)
    with pytest.raises(ContextLengthExceeded, match="maximum context length is 1280 tokens"):
        await ask(engine, question("x" * 1_000_000))


async def test_tokens_that_gathered_while_the_loop_was_busy_come_as_one_delta(engine: LlamaCppEngine) -> None:
    asked = question(max_tokens=50, ignore_eos=True)
    quick = await ask(engine, asked)
    async with aclosing(engine.generate(asked)) as events:
        deltas = [await anext(events)]
        assert engine._loaded is not None
        # Blocks the loop until both threads are free, so until the call is over.
        both = threading.Barrier(2)
        list(engine._loaded.threads.map(lambda _: both.wait(), range(2)))
        deltas += [event async for event in events if isinstance(event, Delta)]
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == quick.text
    assert len(deltas) <= 4


async def test_nobody_else_on_the_machine_can_use_the_librarys_own_server(engine: LlamaCppEngine) -> None:
    assert engine._loaded is not None
    door = engine._loaded.server[0].listening_address
    for path in ("v1/models", "props", "slots", "metrics", "v1/chat/completions", "completion", "tokenize"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            await asyncio.to_thread(urllib.request.urlopen, f"{door}/{path}", b"{}")
        caught.value.close()
        assert caught.value.code in (401, 404), path


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "cannot be read on this node: No such file or directory"),
        (b"", "is no GGUF file"),
        (b"PK\x03\x04", "is no GGUF file"),
        (b"GGUF" + b"\xff" * 1000, "GGUF file is version 4294967295"),
        (WEFT_TINY.read_bytes()[:1_000_000], "data is not within the file bounds"),
    ],
    ids=["missing", "empty", "zip", "garbage", "truncated"],
)
async def test_a_bad_file_is_a_failed_load_that_says_why(
    tmp_path: Path, content: bytes | None, cause: str
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadFailed, match=cause):
        await LlamaCppEngine().load(EngineModel("bad", str(path), CONTEXT), lambda fraction: None)
