"""Texts that an upstream goes on with."""

from dataclasses import replace

import pytest

from tests.upstreams.misbehaving import DONE, chunk, error, event, stream, usage
from tests.worker.engines.answers import ask, complete, question
from tests.worker.engines.openai.loaded import loaded
from weft_common.errors import ContextLengthExceeded, InvalidRequest
from weft_worker.engines.base import Completion, FinishReason, Sampling, TokenChance, TokenLogprob, Usage

_ASKED = Completion("Once", Sampling(max_tokens=4, stop=(".",)))


def _said(text: str, reason: str | None = None, **more: object) -> object:
    return event({"object": "text_completion", "choices": [{"text": text, "finish_reason": reason, **more}]})


_GOOD = stream(_said(" upon"), _said(" a", "length"), usage(1, 2), chunk(DONE))  # type: ignore[arg-type]


async def test_a_text_goes_on_where_the_upstream_has_completions() -> None:
    async with loaded(_GOOD) as (engine, upstream):
        answer = await complete(engine, replace(_ASKED, suffix="end", echo=True))
    assert (answer.text, answer.reason, answer.usage) == ("Once upon a", FinishReason.LENGTH, Usage(1, 2))
    assert upstream.seen[0].path.endswith("/completions")
    assert "chat" not in upstream.seen[0].path
    assert upstream.seen[0].body == {
        "model": "theirs",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 4,
        "stop": ["."],
        "prompt": "Once",
        "suffix": "end",
    }


async def test_tokens_are_sent_as_they_are_and_echoed_by_who_knows_them() -> None:
    async with loaded(_GOOD) as (engine, upstream):
        await complete(engine, Completion((3, 1), echo=True))
    assert (upstream.seen[0].body["prompt"], upstream.seen[0].body["echo"]) == ([3, 1], True)


async def test_probabilities_are_read_as_openai_once_told_them() -> None:
    told = {"tokens": ["a", "b"], "token_logprobs": [-1, -2.5], "top_logprobs": [{"a": -1, "c": -3}, None]}
    script = stream(_said("ab", "stop", logprobs=told), usage(), chunk(DONE))  # type: ignore[arg-type]
    async with loaded(script) as (engine, upstream):
        answer = await complete(engine, Completion("x", Sampling(top_logprobs=1)))
    a, b = TokenChance("a", b"a", -1.0), TokenChance("b", b"b", -2.5)
    assert answer.deltas[0].logprobs == (TokenLogprob(a, (a,)), TokenLogprob(b))
    assert upstream.seen[0].body["logprobs"] == 1


async def test_a_text_that_is_too_long_is_named_as_the_prompt() -> None:
    async with loaded(error(400, "This model's maximum context length is 9 tokens")) as (engine, _):
        with pytest.raises(ContextLengthExceeded) as caught:
            await complete(engine, _ASKED)
    assert [violation.field for violation in caught.value.violations] == ["prompt"]


async def test_an_upstream_without_completions_says_so() -> None:
    async with loaded(error(400, "Not supported with this model")) as (engine, _):
        with pytest.raises(InvalidRequest, match="Not supported with this model"):
            await complete(engine, _ASKED)


async def test_what_llama_cpp_says_of_the_context_is_told_as_openai_says_it() -> None:
    said = "request (513 tokens) exceeds the available context size (512 tokens), try increasing it"
    refusal = error(400, said, type="exceed_context_size_error")
    async with loaded(refusal) as (engine, _):
        with pytest.raises(ContextLengthExceeded, match=r"requested 517 tokens \(513 in your prompt; 4 for"):
            await complete(engine, _ASKED)
        with pytest.raises(ContextLengthExceeded, match="However, your messages resulted in 513 tokens"):
            await ask(engine, question())
