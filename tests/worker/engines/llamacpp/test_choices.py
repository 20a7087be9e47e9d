"""How tokens are chosen where a request does not say it: as OpenAI's API does, or as the model's makers wrote down."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.worker.engines.answers import WEFT_TINY, complete
from weft_worker.engines.base import Completion, EngineModel, Sampling
from weft_worker.engines.llamacpp import LlamaCppEngine

NEUTRAL: Any = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
# As weft-tiny's file says.
MAKERS: Any = {"temperature": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.05}


@asynccontextmanager
async def loaded(path: Path) -> AsyncIterator[LlamaCppEngine]:
    engine = LlamaCppEngine()
    await engine.load(EngineModel("weft-tiny", str(path), 256, slot_count=2), lambda _: None)
    try:
        yield engine
    finally:
        await engine.close()


async def next_tokens(engine: LlamaCppEngine, **sampling: Any) -> list[str]:
    """What a text goes on with, seed by seed."""
    asked = [
        Completion("The", Sampling(seed=seed, max_tokens=1, ignore_eos=True, **sampling))
        for seed in range(60)
    ]
    return [(await complete(engine, each)).text for each in asked]


def without_its_makers_words(path: Path) -> Path:
    """Write weft-tiny with other names, as long, for what its makers say of sampling."""
    raw = WEFT_TINY.read_bytes()
    assert b"general.sampling.temp" in raw
    path.write_bytes(raw.replace(b"general.sampling.", b"another.sampling."))
    return path


async def test_tokens_are_chosen_among_all_where_nothing_is_said(tmp_path: Path) -> None:
    async with loaded(without_its_makers_words(tmp_path / "free.gguf")) as engine:
        assert await next_tokens(engine) == await next_tokens(engine, **NEUTRAL)
        assert len(set(await next_tokens(engine, temperature=2.0))) > 20


async def test_what_the_makers_of_a_model_wrote_into_its_file_holds_until_a_request_says_otherwise() -> None:
    async with loaded(WEFT_TINY) as engine:
        assert await next_tokens(engine) == await next_tokens(engine, **MAKERS)
        free = await next_tokens(engine, **{**NEUTRAL, "temperature": 2.0})
        assert len(set(free)) > 20
        assert set(await next_tokens(engine, temperature=2.0)) < set(free)
