"""How an upstream's answers end: in order, cut short, refused by its model, or failed in the words of a reason."""

from dataclasses import replace

import pytest

from tests.upstreams.misbehaving import DONE, GOOD, Script, answer, chunk, event, finish, stream, text, usage
from tests.worker.engines.answers import ask, question
from tests.worker.engines.openai.loaded import loaded
from weft_common.errors import EngineFailed
from weft_worker.engines.base import FinishReason, JsonForm, Tool, ToolMode, Tools

FAILED = ("error", "abort", "insufficient_system_resource")


def whole(reason: str, **message: object) -> Script:
    """An answer of an upstream that does not stream."""
    return answer(200, {"choices": [{"index": 0, "message": message, "finish_reason": reason}]})


@pytest.mark.parametrize("reason", FAILED)
async def test_a_reason_that_is_a_failure_before_the_first_word_is_tried_again(reason: str) -> None:
    async with loaded(stream(finish(reason), usage(), chunk(DONE)), GOOD) as (engine, upstream):
        assert (await ask(engine, question())).text == "Hello"
        assert len(upstream.seen) == 2


@pytest.mark.parametrize("reason", FAILED)
async def test_a_reason_that_is_a_failure_does_not_pass_half_an_answer_off_as_whole(reason: str) -> None:
    script = stream(text("Hel"), finish(reason), usage(), chunk(DONE))
    async with loaded(script) as (engine, upstream):
        with pytest.raises(EngineFailed, match=f"it finished with '{reason}'"):
            await ask(engine, question())
        assert len(upstream.seen) == 1


async def test_an_answer_in_one_piece_that_failed_is_tried_again() -> None:
    async with loaded(whole("abort", content="Hel"), GOOD) as (engine, upstream):
        assert (await ask(engine, question())).text == "Hello"
        assert len(upstream.seen) == 2


async def test_a_failed_choice_is_told_in_the_upstreams_own_words() -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "error", "error": {"message": "Provider down"}}
    async with loaded(stream(text("Hel"), event({"choices": [choice]}))) as (engine, _):
        with pytest.raises(EngineFailed, match="failed: Provider down"):
            await ask(engine, question())


@pytest.mark.parametrize("reason", ["length", "max_tokens", "model_length"])
async def test_what_was_cut_short_is_told_as_such(reason: str) -> None:
    async with loaded(stream(text("Hel"), finish(reason), usage(), chunk(DONE))) as (engine, _):
        assert (await ask(engine, question())).reason is FinishReason.LENGTH


@pytest.mark.parametrize("more", [{}, {"form": JsonForm('{"type":"object"}')}])
async def test_what_a_filter_cut_off_is_told_as_such_whatever_form_was_asked_for(
    more: dict[str, object],
) -> None:
    async with loaded(stream(text("Hel"), finish("content_filter"), usage(), chunk(DONE))) as (engine, _):
        answer = await ask(engine, replace(question(), **more))
    assert (answer.text, answer.reason) == ("Hel", FinishReason.CONTENT_FILTER)


REFUSING = {
    "a stream": stream(
        event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}}]}),
        event({"choices": [{"index": 0, "delta": {"refusal": "I can't "}}]}),
        event({"choices": [{"index": 0, "delta": {"refusal": "help."}}]}),
        finish(),
        chunk(DONE),
    ),
    "one piece": whole("stop", content=None, refusal="I can't help."),
}
_TOOLS = Tools((Tool("f"),), ToolMode.REQUIRED)


@pytest.mark.parametrize("more", [{}, {"form": JsonForm('{"type":"object"}')}, {"tools": _TOOLS}])
@pytest.mark.parametrize("script", REFUSING.values(), ids=REFUSING.keys())
async def test_a_refusal_is_told_as_text_whatever_form_was_asked_for(
    script: Script, more: dict[str, object]
) -> None:
    async with loaded(script) as (engine, upstream):
        told = await ask(engine, replace(question(), **more))
        assert (told.text, told.reason) == ("I can't help.", FinishReason.STOP)
        assert len(upstream.seen) == 1


async def test_the_probabilities_of_a_refusal_are_told() -> None:
    told = {"content": None, "refusal": [{"token": "No", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
    choice = {"index": 0, "delta": {"refusal": "No"}, "logprobs": told, "finish_reason": None}
    async with loaded(stream(event({"choices": [choice]}), finish(), chunk(DONE))) as (engine, _):
        said = await ask(engine, question(top_logprobs=0))
    assert [each.chosen.text for delta in said.deltas for each in delta.logprobs] == ["No"]
