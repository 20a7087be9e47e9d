"""Vectors of an upstream: one request for all, tried again where that may help, and checked when they come."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from math import sqrt

import pytest

from tests.upstreams.misbehaving import Die, Hang, Misbehaving, Script, answer, error, misbehaving
from tests.worker.engines.contract.reading import vectors
from tests.worker.engines.openai.loaded import model
from weft_common.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    LoadFailed,
    PartUnavailable,
)
from weft_common.purposes import Purpose
from weft_worker.engines.openai import OpenAIEngine


def told(*found: object, tokens: int = 9) -> Script:
    data = [{"index": index, "embedding": each} for index, each in enumerate(found)]
    return answer(200, {"data": data[::-1], "usage": {"prompt_tokens": tokens}})


FIRST = told([1.0, 0.0])


@asynccontextmanager
async def embedding(*scripts: Script, **options: str) -> AsyncIterator[tuple[OpenAIEngine, Misbehaving]]:
    async with misbehaving() as upstream:
        upstream.scripts = [FIRST]
        engine = OpenAIEngine()
        await engine.load(replace(model(upstream, **options), purpose=Purpose.EMBEDDING), lambda _: None)
        upstream.seen.clear()
        upstream.scripts = list(scripts)
        try:
            yield engine, upstream
        finally:
            await engine.close()


async def test_all_inputs_go_in_one_request_and_come_back_in_order_and_of_unit_length() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.0, 2.0)).decode()
    async with embedding(told([3.0, 4.0], packed, tokens=5)) as (engine, upstream):
        assert engine.vector_size() == 2
        first, second = await vectors(engine, ["a", (1, 2)])
        (seen,) = upstream.seen
    assert (seen.path, seen.body["model"], seen.body["input"]) == ("/v1/embeddings", "theirs", ["a", [1, 2]])
    assert list(first.values) == pytest.approx([0.6, 0.8])
    assert list(second.values) == [0.0, 1.0]
    assert (first.token_count, second.token_count) == (5, 0)


async def test_trouble_is_tried_again() -> None:
    async with embedding(error(500, "sorry"), (Die(),), told([1.0, 1.0])) as (engine, upstream):
        (vector,) = await vectors(engine, ["a"])
        assert len(upstream.seen) == 3
    assert vector.values[0] == pytest.approx(sqrt(0.5))


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        (error(503, "down"), PartUnavailable),
        (error(400, "no"), InvalidRequest),
        (error(400, "maximum context length is 5"), ContextLengthExceeded),
        (error(404, "gone"), LoadFailed),
        (error(401, "key"), PartUnavailable),
        (answer(200, {"data": []}), EngineFailed),
        (answer(200, {"choices": []}), EngineFailed),
        (answer(200, b"<html>"), PartUnavailable),
        (told([0.0, 0.0]), EngineFailed),
        (told(["x"]), EngineFailed),
        (told("%%"), EngineFailed),
        (told([1e300, 1.0]), EngineFailed),
    ],
)
async def test_what_is_no_answer_is_a_failure_in_our_words(script: Script, failure: type[Exception]) -> None:
    async with embedding(script, retries="0", first_token_timeout="60") as (engine, _):
        with pytest.raises(failure):
            await vectors(engine, ["a"])
        with pytest.raises(failure):  # the slot is free again
            await vectors(engine, ["a"])


async def test_an_upstream_that_says_nothing_is_given_up() -> None:
    async with embedding((Hang(),), retries="0") as (engine, _):
        with pytest.raises(DeadlineExceeded):
            await vectors(engine, ["a"])


async def test_a_caller_that_leaves_hangs_up() -> None:
    async with embedding((Hang(),)) as (engine, upstream):
        made = engine.embed(["a"])
        asked = asyncio.ensure_future(anext(made))
        while not upstream.seen:
            await asyncio.sleep(0.001)
        asked.cancel()
        await asyncio.wait_for(upstream.hung_up.wait(), 10)


async def test_reranking_is_no_business_of_other_servers() -> None:
    async with misbehaving() as upstream:
        with pytest.raises(LoadFailed, match="not to rerank"):
            await OpenAIEngine().load(replace(model(upstream), purpose=Purpose.RERANKING), lambda _: None)
