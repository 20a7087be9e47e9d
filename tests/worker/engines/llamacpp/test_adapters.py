"""LoRA adapters: what a model file names is loaded, scaled, and changes what the model says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lora import write_adapter
from tests.worker.engines.answers import WEFT_TINY, ask, question
from weft_common.errors import LoadFailed
from weft_worker.engines.base import EngineModel
from weft_worker.engines.llamacpp import LlamaCppEngine
from weft_worker.engines.llamacpp.side_files import Adapter, ignored_options, side_files_of

MODEL = EngineModel("weft-tiny", str(WEFT_TINY), 256)


async def logprob(**options: str) -> float:
    """Of the first token of an answer: to the model it is as likely as its weights say."""
    engine = LlamaCppEngine()
    await engine.load(replace(MODEL, options=options), lambda _: None)
    answer = await ask(engine, question(max_tokens=1, top_logprobs=1, logit_bias={40: 50.0}))
    await engine.close()
    return answer.deltas[0].logprobs[0].chosen.logprob


async def test_an_adapter_changes_the_model_by_its_scale(tmp_path: Path) -> None:
    path, opposite = write_adapter(tmp_path / "a.gguf"), write_adapter(tmp_path / "b.gguf", sign=-1)
    plain = await logprob()
    whole = await logprob(lora_adapter=str(path))
    half = await logprob(lora_adapter=str(path), lora_scale="0.5")
    assert abs(plain - whole) > 0.1
    assert abs(half - whole) > 0.01
    assert await logprob(lora_adapter=str(path), lora_scale="0") == pytest.approx(plain, abs=1e-3)
    both = {"lora_adapter": str(path), "lora_adapter_2": str(opposite)}
    assert await logprob(**both) == pytest.approx(plain, abs=1e-2)
    assert await logprob(**both, lora_scale_2="0") == pytest.approx(whole, abs=1e-3)


def test_adapters_are_found_as_they_stand_and_below_the_models_folder(tmp_path: Path) -> None:
    (tmp_path / "models/llama").mkdir(parents=True)
    (tmp_path / "models/lora").mkdir()
    path = write_adapter(tmp_path / "models/lora/a.gguf")
    model = EngineModel("m", str(tmp_path / "models/llama/m.gguf"), 256)
    told = {"lora_adapter": "lora/a.gguf", "lora_adapter_2": str(path), "lora_scale_2": "0.25", "other": "x"}
    assert side_files_of(replace(model, options=told)).adapters == (Adapter(path, 1.0), Adapter(path, 0.25))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"lora_adapter": "/nowhere/a.gguf"}, "options.lora_adapter: there is no file /nowhere/a.gguf"),
        ({"lora_adapter": "{adapter}", "lora_scale": "much"}, "options.lora_scale: 'much' is no number"),
        ({"lora_adapter": "{adapter}", "lora_scale": "inf"}, "options.lora_scale: 'inf' is no number"),
        ({"lora_scale_2": "1"}, "options.lora_scale_2: there is no lora_adapter_2"),
        ({"lora_adapter": "{text}"}, "is no GGUF file"),
        ({"lora_adapter": str(WEFT_TINY)}, "expect general.type to be 'adapter'"),
        ({"lora_adapter": "{foreign}"}, "arch mismatch"),
    ],
)
async def test_an_adapter_that_is_of_no_use_fails_the_load_and_says_why(
    options: dict[str, str], why: str, tmp_path: Path
) -> None:
    places = {
        "adapter": write_adapter(tmp_path / "a.gguf"),
        "foreign": write_adapter(tmp_path / "f.gguf", architecture="bert"),
        "text": tmp_path / "t.gguf",
    }
    places["text"].write_text("words")
    told = {key: value.format(**places) for key, value in options.items()}
    with pytest.raises(LoadFailed) as failed:
        await LlamaCppEngine().load(replace(MODEL, options=told), lambda _: None)
    assert re.search(why, str(failed.value))


def test_options_that_mean_nothing_here_are_told_by_their_names() -> None:
    known = ["lora_adapter", "lora_scale_2", "mmproj", "n_parallel", "parallel", "pooling"]
    assert ignored_options([*known, "poling", "lora_adaptr"]) == ["lora_adaptr", "poling"]


async def test_a_load_with_such_options_succeeds_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    await logprob(cache_type_k="q8_0")
    assert [(r.message, r.options) for r in caplog.records if r.levelname == "WARNING"] == [  # type: ignore[attr-defined]
        ("engine_options_ignored", ["cache_type_k"])
    ]
