"""What every engine keeps that goes on with texts."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from math import isnan
from typing import Any

import pytest

from tests.worker.engines.answers import Answer, complete
from tests.worker.engines.contract.conftest import CONTEXT, Subject
from weft_common.errors import ContextLengthExceeded, EngineFailed, InvalidRequest
from weft_worker.engines.abilities import Completer, Counter, Foreseer
from weft_worker.engines.base import Completion, Engine, FinishReason, Sampling, TokenLogprob

SAID = "Once upon a time"


def text(prompt: Any = SAID, **sampling: Any) -> Completion:
    return Completion(prompt, Sampling(**{"temperature": 0.0, "seed": 1, "max_tokens": 8, **sampling}))


async def answer_or_fields(completer: Completer, asked: Completion) -> Answer | list[str]:
    """An answer, or what of the question is refused."""
    try:
        return await complete(completer, asked)
    except InvalidRequest as error:
        return [violation.field for violation in error.violations]


@pytest.fixture
def completer(engine: Engine) -> Completer:
    """Each engine that does."""
    if not isinstance(engine, Completer):
        pytest.skip("an engine may have no way to it")
    return engine


async def test_a_text_goes_on_for_as_long_as_it_may(completer: Completer) -> None:
    answer = await complete(completer, text(ignore_eos=True))
    assert (answer.reason, answer.usage.completion_token_count) == (FinishReason.LENGTH, 8)
    assert answer.usage.prompt_token_count > 0
    assert answer.text
    again, longer = (
        await complete(completer, text()),
        await complete(completer, text(max_tokens=12, ignore_eos=True)),
    )
    assert longer.text.startswith(answer.text)
    assert again.text == answer.text


async def test_an_echo_is_the_text_itself_and_counts_as_no_token(completer: Completer) -> None:
    plain = await complete(completer, text())
    echoed = await complete(completer, replace(text(), echo=True))
    assert (echoed.text, echoed.usage.completion_token_count) == (
        SAID + plain.text,
        plain.usage.completion_token_count,
    )
    assert (echoed.deltas[0].text, echoed.deltas[0].token_count) == (SAID, 0)


async def test_nothing_but_an_echo_is_what_no_tokens_are(completer: Completer) -> None:
    answer = await complete(completer, replace(text(max_tokens=0), echo=True))
    assert (answer.text, answer.reason) == (SAID, FinishReason.LENGTH)
    assert answer.usage.completion_token_count == 0
    assert answer.usage.prompt_token_count > 0


async def test_tokens_are_taken_as_they_are(completer: Completer) -> None:
    if not isinstance(completer, Counter):
        pytest.skip("it does not say what tokens are")
    ids = (await completer.tokenize(SAID)).ids
    answer = await complete(completer, text(ids))
    assert answer.usage.prompt_token_count == len(ids)
    assert answer.text == (await complete(completer, text())).text


async def test_an_empty_text_begins_a_new_document_or_is_refused_by_its_name(completer: Completer) -> None:
    answer = await answer_or_fields(completer, replace(text("", ignore_eos=True), echo=True))
    if not isinstance(answer, Answer):
        assert answer == ["prompt"]
        return
    assert (answer.deltas[0].text, answer.deltas[0].token_count) == ("", 0)
    # An upstream may have nothing to say to it, as llama.cpp's server.
    assert answer.usage.completion_token_count in (0, 8)
    assert bool(answer.text) == bool(answer.usage.completion_token_count)


async def test_a_token_that_is_none_is_refused(completer: Completer) -> None:
    with pytest.raises(InvalidRequest, match=r"999999999|invalid tokens"):
        await complete(completer, text((1, 999_999_999)))


@pytest.mark.parametrize("prompt", ["word " * (CONTEXT + 1), (1,) * CONTEXT, "x" * 4_000_000])
async def test_a_text_beyond_the_context_is_refused_in_openais_words(
    completer: Completer, prompt: Any, subject: Subject
) -> None:
    if subject.is_scripted and " " not in prompt and isinstance(prompt, str):
        return  # one word
    words = rf"maximum context length is {CONTEXT} tokens, however you requested \d+ tokens \(\d+ in your prompt; 8 for"
    with pytest.raises(ContextLengthExceeded, match=words):
        await complete(completer, text(prompt))


async def test_a_stop_string_ends_it_and_is_no_part_of_it(completer: Completer) -> None:
    whole = (await complete(completer, text(max_tokens=30))).text
    stop = whole[len(whole) // 2 :][:3]
    stopped = await complete(completer, text(max_tokens=30, stop=(stop,)))
    assert (stopped.text, stopped.reason) == (whole[: whole.index(stop)], FinishReason.STOP)


async def test_a_gap_is_filled_or_refused_by_its_name(completer: Completer) -> None:
    answer = await answer_or_fields(completer, replace(text(), suffix="The end."))
    assert answer == ["suffix"] or (isinstance(answer, Answer) and answer.usage.completion_token_count <= 8)


async def test_probabilities_of_what_follows_are_told_or_refused_and_so_are_those_of_the_prompt(
    completer: Completer, subject: Subject
) -> None:
    if subject.is_scripted:
        return
    told: list[TokenLogprob]
    for count in (0, 2):
        answer = await complete(completer, text(top_logprobs=count))
        told = [each for delta in answer.deltas for each in delta.logprobs]
        assert b"".join(each.chosen.data for each in told).decode() == answer.text
        assert {len(each.likeliest) for each in told} == {count}
    whole = await answer_or_fields(completer, replace(text(top_logprobs=1), echo=True))
    if not isinstance(whole, Answer):
        assert whole == ["echo"]
        return
    told = [each for delta in whole.deltas for each in delta.logprobs]
    assert b"".join(each.chosen.data for each in told).decode() == whole.text
    assert isnan(told[0].chosen.logprob)
    assert all(each.chosen.logprob <= each.likeliest[0].logprob <= 0 for each in told[1:])
    count = whole.usage.prompt_token_count
    assert len(told) == count + whole.usage.completion_token_count
    # What was generated greedily is the likeliest, and was it as well where it is a part of the prompt.
    again = await complete(completer, replace(text(whole.text, top_logprobs=1, max_tokens=0), echo=True))
    later = [each for delta in again.deltas for each in delta.logprobs][count:]
    assert [each.chosen.logprob for each in later] == pytest.approx(
        [each.chosen.logprob for each in told[count:]], abs=2e-2
    )


async def test_a_completion_that_is_left_frees_its_slot(completer: Completer) -> None:
    for _ in range(4):
        async with aclosing(completer.complete(text(max_tokens=400, ignore_eos=True))) as events:
            await anext(events)
    answers = await asyncio.gather(*(complete(completer, text(max_tokens=2)) for _ in range(4)))
    assert [answer.usage.completion_token_count for answer in answers] == [2] * 4


async def test_a_closed_engine_completes_nothing_more(subject: Subject) -> None:
    engine = subject.create()
    if not isinstance(engine, Completer):
        pytest.skip("an engine may have no way to it")
    await engine.load(subject.model, lambda fraction: None)
    await engine.close()
    with pytest.raises(EngineFailed):
        await complete(engine, text())


async def test_what_does_not_fit_can_be_found_without_a_slot(completer: Completer) -> None:
    if not isinstance(completer, Foreseer):
        pytest.skip("it asks somebody else")
    await completer.require_fit(text())
    for prompt in ("word " * (CONTEXT + 1), (1,) * CONTEXT):
        with pytest.raises(ContextLengthExceeded, match="in your prompt"):
            await completer.require_fit(text(prompt))
