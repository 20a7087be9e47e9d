"""What every engine keeps, whatever is behind it."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import pytest

from tests.worker.engines.answers import ask, question
from tests.worker.engines.contract.conftest import CONTEXT, Subject
from weft_common.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, LoadFailed
from weft_worker.engines.base import Engine, Finished, FinishReason, JsonForm


async def test_a_load_tells_rising_fractions_up_to_one(subject: Subject) -> None:
    told: list[float] = []
    engine = subject.create()
    await engine.load(subject.model, told.append)
    await engine.close()
    assert told == sorted(told)
    assert told[-1] == 1.0


async def test_a_model_that_cannot_be_loaded_is_a_failed_load(subject: Subject) -> None:
    with pytest.raises(LoadFailed):
        await subject.create().load(subject.broken_model, lambda fraction: None)


async def test_an_answer_is_deltas_and_one_end(engine: Engine) -> None:
    answer = await ask(engine, question())
    assert answer.reason is FinishReason.STOP
    assert len(answer.deltas) > 1
    assert all(delta.text for delta in answer.deltas)
    assert answer.usage.prompt_token_count > 0
    assert answer.usage.completion_token_count >= len(answer.deltas)


async def test_the_first_event_tells_of_the_prompt_and_no_other_does(
    engine: Engine, subject: Subject
) -> None:
    answer = await ask(engine, question())
    told = [delta.prompt for delta in answer.deltas]
    if told[0] is not None:  # upstreams tell at the end
        assert told[0].prompt_token_count == answer.usage.prompt_token_count
        assert told[0].cached_token_count <= answer.usage.cached_token_count
    assert set(told[1:]) == {None}
    assert told[0] is not None or subject.backend == "openai"


async def test_max_tokens_ends_the_answer_at_its_length(engine: Engine) -> None:
    answer = await ask(engine, question(max_tokens=5))
    assert (answer.reason, answer.usage.completion_token_count) == (FinishReason.LENGTH, 5)


async def test_ignore_eos_goes_on_to_the_limit(engine: Engine) -> None:
    answer = await ask(engine, question(max_tokens=200, ignore_eos=True))
    assert (answer.reason, answer.usage.completion_token_count) == (FinishReason.LENGTH, 200)


async def test_without_a_limit_the_context_is_the_limit(engine: Engine) -> None:
    answer = await ask(engine, question(ignore_eos=True))
    assert answer.reason is FinishReason.LENGTH
    assert answer.usage.prompt_token_count + answer.usage.completion_token_count == CONTEXT


async def test_a_stop_string_and_what_follows_are_no_part_of_the_answer(engine: Engine) -> None:
    whole = (await ask(engine, question())).text
    stop = whole[len(whole) // 2 :][:7]
    stopped = await ask(engine, question(stop=("never said", stop)))
    assert (stopped.text, stopped.reason) == (whole[: whole.index(stop)], FinishReason.STOP)
    assert stopped.stop_sequence in (stop, ""), "no other one was found; upstreams mostly do not tell"


async def test_a_prompt_beyond_the_context_is_refused(engine: Engine) -> None:
    with pytest.raises(ContextLengthExceeded, match=str(CONTEXT)):
        await ask(engine, question("word " * (CONTEXT + 1)))


async def test_the_same_question_has_the_same_answer_whoever_else_is_there(engine: Engine) -> None:
    alone = await ask(engine, question())
    beside, other = await asyncio.gather(ask(engine, question()), ask(engine, question("Count to 5.")))
    again = await ask(engine, question())
    assert alone.text == beside.text == again.text
    assert other.text


async def test_a_form_is_kept_or_refused(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"b": {"enum": ["x"]}, "a": {"const": 1}},
        "required": ["b", "a"],
    }
    form = JsonForm(json.dumps({**schema, "additionalProperties": False}))
    try:
        answer = await ask(engine, replace(question(), form=form))
    except InvalidRequest:
        return
    told = list(json.loads(answer.text).items())  # white space is an engine's own affair, order is not
    assert (told, answer.reason) == ([("b", "x"), ("a", 1)], FinishReason.STOP)


async def test_probabilities_are_told_of_every_token_or_refused(engine: Engine) -> None:
    try:
        answer = await ask(engine, question(max_tokens=4, top_logprobs=2))
    except InvalidRequest:
        return
    told = [each for delta in answer.deltas for each in delta.logprobs]
    assert b"".join(each.chosen.data for each in told).decode() == answer.text
    for each in told:
        assert each.likeliest[0].data == each.chosen.data, "the likeliest is taken at temperature 0"
        assert 0 >= each.likeliest[0].logprob >= each.likeliest[1].logprob
    assert all(not delta.logprobs for delta in (await ask(engine, question(max_tokens=4))).deltas)


async def test_more_requests_than_slots_are_all_answered(engine: Engine) -> None:
    answers = await asyncio.gather(*(ask(engine, question(max_tokens=20, seed=seed)) for seed in range(6)))
    assert [answer.usage.completion_token_count for answer in answers] == [20] * 6


async def test_a_closed_engine_generates_nothing_more(subject: Subject) -> None:
    engine = subject.create()
    await engine.load(subject.model, lambda fraction: None)
    async with aclosing(engine.generate(question(ignore_eos=True))) as events:
        await anext(events)
        closing = asyncio.ensure_future(engine.close())
        with pytest.raises(EngineFailed):
            async for event in events:
                assert not isinstance(event, Finished)
        await closing
    with pytest.raises(EngineFailed):
        await ask(engine, question())
    await engine.close()


async def test_requests_that_wait_for_a_slot_fail_when_the_engine_is_closed(subject: Subject) -> None:
    engine = subject.create()
    await engine.load(subject.model, lambda fraction: None)
    asked = [asyncio.ensure_future(ask(engine, question(ignore_eos=True))) for _ in range(5)]
    await asyncio.sleep(0)
    await engine.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {EngineFailed}
