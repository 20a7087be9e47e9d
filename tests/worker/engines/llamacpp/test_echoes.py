"""Probabilities of an echoed prompt, also where a token is only a part of a character."""

from collections.abc import AsyncIterator
from math import isfinite

import pytest
import pytest_asyncio

from tests.worker.engines.answers import WEFT_TINY, Answer, complete
from weft_common.errors import InvalidRequest
from weft_worker.engines.base import Completion, EngineModel, Sampling, TokenLogprob
from weft_worker.engines.llamacpp import LlamaCppEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaCppEngine]:
    """The model that Weft ships."""
    engine = LlamaCppEngine()
    await engine.load(EngineModel("m", str(WEFT_TINY), 128), lambda _: None)
    yield engine
    await engine.close()


async def echo(engine: LlamaCppEngine, prompt: str | tuple[int, ...]) -> tuple[Answer, list[TokenLogprob]]:
    asked = Completion(prompt, Sampling(max_tokens=0, top_logprobs=1), echo=True)
    answer = await complete(engine, asked)
    return answer, [each for delta in answer.deltas for each in delta.logprobs]


@pytest.mark.parametrize("prompt", ["\u202e\u2066", "😀 日本", "a<|im_end|>b", "x"])
async def test_every_token_is_told(engine: LlamaCppEngine, prompt: str) -> None:
    answer, told = await echo(engine, prompt)
    assert len(told) == answer.usage.prompt_token_count
    assert [isfinite(each.chosen.logprob) for each in told] == [False] + [True] * (len(told) - 1)
    assert all(each.likeliest[0].logprob >= each.chosen.logprob for each in told[1:])
    if "<" not in prompt:
        assert b"".join(each.chosen.data for each in told).decode() == prompt == answer.text


@pytest.mark.parametrize("ids", [(5, 2**31 - 1, 7), (5, 6000, 7), (5, 7, 6000), (6000, 5)])
async def test_a_token_that_is_none_is_the_callers_mistake(
    engine: LlamaCppEngine, ids: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidRequest, match="prompt: Token"):
        await echo(engine, ids)
