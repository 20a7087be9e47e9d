"""Gaps in texts are filled by models that have the marks for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.thinker import write_filler
from tests.worker.engines.answers import complete
from weft_common.errors import ContextLengthExceeded
from weft_worker.engines.base import Completion, EngineModel, Sampling
from weft_worker.engines.llamacpp import LlamaCppEngine

_ASKED = Completion("Once upon", Sampling(temperature=0, max_tokens=4, ignore_eos=True), suffix="The end.")


async def test_marks_are_set_around_what_comes_before_and_after(tmp_path: Path) -> None:
    engine = LlamaCppEngine()
    await engine.load(EngineModel("m", str(write_filler(tmp_path / "m.gguf")), 64), lambda _: None)
    try:
        before, after = (await engine.tokenize("Once upon")).ids, (await engine.tokenize("The end.")).ids
        by_text = await complete(engine, replace(_ASKED, echo=True))
        by_hand = Completion((1021, *before, 1022, *after, 1023), _ASKED.sampling)
        assert by_text.text == "Once upon" + (await complete(engine, by_hand)).text
        assert by_text.usage.prompt_token_count == len(before) + len(after) + 3
        assert (await complete(engine, replace(_ASKED, prompt=before, echo=True))).text == by_text.text
        with pytest.raises(ContextLengthExceeded, match="64 tokens, however you requested"):
            await complete(engine, replace(_ASKED, suffix="end " * 64))
    finally:
        await engine.close()
