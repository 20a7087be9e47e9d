"""Thoughts of an upstream's model: told apart, whatever it calls them, and switched in the ways that there are."""

from dataclasses import replace
from typing import Any

import pytest

from tests.upstreams.misbehaving import (
    DONE,
    GOOD,
    Script,
    answer,
    chunk,
    error,
    event,
    finish,
    stream,
    text,
    usage,
)
from tests.worker.engines.answers import question
from tests.worker.engines.openai.loaded import loaded
from weft_worker.engines.base import (
    Delta,
    Effort,
    Event,
    Finished,
    FinishReason,
    Generation,
    Message,
    ReasoningDelta,
    Role,
    Thinking,
    ToolCall,
    Usage,
)
from weft_worker.engines.openai import OpenAIEngine


def thought(words: str, field: str = "reasoning_content", **more: Any) -> Any:
    return event({"choices": [{"index": 0, "delta": {field: words}, "finish_reason": None, **more}]})


async def told(engine: OpenAIEngine, asked: Generation) -> list[Event]:
    return [each async for each in engine.generate(asked)]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thoughts_are_told_apart_and_counted(field: str) -> None:
    script = stream(thought("so ", field), thought("so", field), text("yes"), finish(), chunk(DONE))
    async with loaded(script) as (engine, _):
        *events, end = await told(engine, question())
    assert events == [ReasoningDelta("so "), ReasoningDelta("so"), Delta("yes")]
    assert isinstance(end, Finished)
    assert (end.usage.completion_token_count, end.usage.reasoning_token_count) == (3, 2)


async def test_what_the_upstream_counts_goes_before_our_own_count() -> None:
    counted = usage(7, 50, completion_tokens_details={"reasoning_tokens": 40})
    async with loaded(stream(thought("so"), text("yes"), finish(), counted, chunk(DONE))) as (engine, _):
        end = (await told(engine, question()))[-1]
    assert end == Finished(FinishReason.STOP, Usage(7, 50, 0, 40))


async def test_probabilities_of_thoughts_are_nobodys() -> None:
    def told_of(token: str) -> dict[str, Any]:
        return {
            "logprobs": {"content": [{"token": token, "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
        }

    script = stream(
        thought("so", **told_of("so")), text("yes", **told_of("yes")), finish(), usage(), chunk(DONE)
    )
    async with loaded(script) as (engine, _):
        thinks, says, _ = await told(engine, question(top_logprobs=0))
    assert thinks == ReasoningDelta("so")
    assert isinstance(says, Delta)
    assert [each.chosen.text for each in says.logprobs] == ["yes"]


@pytest.mark.parametrize(
    ("thinking", "sent"),
    [
        (None, {}),
        (Thinking(), {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}),
        (
            Thinking(True, Effort.LOW),
            {
                "chat_template_kwargs": {"enable_thinking": True, "thinking": True},
                "reasoning_effort": "low",
            },
        ),
        (
            Thinking(False, Effort.LOW),
            {
                "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
                "reasoning_effort": "none",
            },
        ),
    ],
)
async def test_the_switch_is_sent_as_templates_and_as_openai_know_it(
    thinking: Thinking | None, sent: dict[str, Any]
) -> None:
    async with loaded() as (engine, upstream):
        await told(engine, replace(question(), thinking=thinking))
    body = upstream.seen[0].body
    assert {key: body[key] for key in ("chat_template_kwargs", "reasoning_effort") if key in body} == sent


async def test_a_switch_that_an_upstream_refuses_is_left_out_from_then_on() -> None:
    refusal = error(400, "Unknown parameter: 'chat_template_kwargs'.")
    async with loaded(refusal, GOOD) as (engine, upstream):
        for _ in range(2):
            await told(engine, replace(question(), thinking=Thinking(True, Effort.HIGH)))
    assert ["chat_template_kwargs" in seen.body for seen in upstream.seen] == [True, False, False]
    assert {seen.body["reasoning_effort"] for seen in upstream.seen} == {"high"}


async def _efforts(script: Script, *efforts: Effort | None) -> list[list[str | None]]:
    """What is sent for each effort in turn, None for thoughts switched off, to an upstream that refuses the first."""
    sent = list[list[str | None]]()
    async with loaded(script, GOOD) as (engine, upstream):
        for effort in efforts:
            await told(engine, replace(question(), thinking=Thinking(effort is not None, effort)))
            sent.append([seen.body.get("reasoning_effort") for seen in upstream.seen])
            upstream.seen.clear()
    return sent


def _literal(**more: object) -> dict[str, object]:
    place = {"type": "literal_error", "loc": ["body", "reasoning_effort"]}
    return {"detail": [{**place, "msg": "Input should be 'low' or 'high'", "input": "none", **more}]}


VALUE_REFUSED = {
    "OpenAI": error(
        400,
        "Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are: 'low',"
        " 'medium', and 'high'.",
        param="reasoning_effort",
        code="unsupported_value",
    ),
    "Groq": error(400, "`reasoning_effort` must be one of `low`, `medium`, or `high`"),
    "FastAPI": answer(422, _literal()),
    "vLLM": error(400, str(_literal()["detail"])),
    "Ollama": error(400, 'think value "none" is not supported for this model'),
    "Ollama of its own": error(400, 'invalid reasoning value: \'none\' (must be "high", "medium" or "low")'),
    "words": error(400, "reasoning_effort 'none' is not supported by this model"),
}


@pytest.mark.parametrize("script", VALUE_REFUSED.values(), ids=VALUE_REFUSED.keys())
async def test_an_effort_that_is_refused_is_left_out_and_others_are_still_sent(script: Script) -> None:
    sent = await _efforts(script, None, Effort.HIGH, None)
    assert sent == [["none", None], ["high"], [None]]


FIELD_REFUSED = {
    "OpenAI": error(
        400,
        "Unsupported parameter: 'reasoning_effort' is not supported with this model.",
        param="reasoning_effort",
        code="unsupported_parameter",
    ),
    "an older OpenAI": error(400, "Unrecognized request argument supplied: reasoning_effort"),
    "FastAPI": answer(422, _literal(type="extra_forbidden", msg="Extra inputs are not permitted")),
    "Go": answer(400, {"error": 'json: unknown field "reasoning_effort"'}),
    "words": error(400, "This model does not support `reasoning_effort`"),
    "Ollama": error(400, '"theirs" does not support thinking'),
}


@pytest.mark.parametrize("script", FIELD_REFUSED.values(), ids=FIELD_REFUSED.keys())
async def test_an_upstream_that_knows_no_efforts_is_sent_none_any_more(script: Script) -> None:
    assert await _efforts(script, None, Effort.HIGH) == [["none", None], [None]]


async def test_an_effort_refused_for_reasons_of_one_request_is_sent_with_others() -> None:
    script = error(400, "Function tools with reasoning_effort are not possible here.")
    assert await _efforts(script, Effort.LOW, Effort.LOW) == [["low", None], ["low"]]


async def test_a_switch_that_cannot_be_off_can_be_on() -> None:
    refusal = error(400, "chat_template_kwargs: invalid value: thoughts cannot be switched off")
    async with loaded(refusal, GOOD) as (engine, upstream):
        for enabled in (False, True, False):
            await told(engine, replace(question(), thinking=Thinking(enabled)))
    assert ["chat_template_kwargs" in seen.body for seen in upstream.seen] == [True, False, True, False]


async def test_only_thoughts_of_the_present_turn_are_sent_on() -> None:
    call = ToolCall("c", "f", "{}")
    messages = (
        Message(Role.USER, "a"),
        Message(Role.ASSISTANT, "b", reasoning="old"),
        Message(Role.USER, "c"),
        Message(Role.ASSISTANT, "", tool_calls=(call,), reasoning="new"),
        Message(Role.TOOL, "d", tool_call_id="c"),
    )
    async with loaded() as (engine, upstream):
        await told(engine, Generation(messages))
    sent = upstream.seen[0].body["messages"]
    assert [message.get("reasoning_content") for message in sent] == [None, None, None, "new", None]
