"""What the files of a model say about it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.common.gguf_files import Value, head
from tests.common.safetensors_files import safetensors
from tests.minilm import minilm_gguf
from tests.thinker import write_thinker
from weft_router.fleet.about import About, counted
from weft_router.weights import Shelf

TINY = Path(__file__).parents[2] / "worker" / "weft_worker" / "models" / "weft-tiny.gguf"


def about(path: Path) -> About:
    shelf = Shelf()
    shelf.look([path])
    return shelf.about(path)


def gguf(path: Path, keys: dict[str, Value], size_bytes: int = 4096) -> Path:
    path.write_bytes(head(keys).ljust(size_bytes, b"\0"))
    return path


def test_a_real_file() -> None:
    told = about(TINY)
    assert (told.format, told.architecture, told.quantization) == ("gguf", "llama", "Q8_0")
    assert (told.embedding_size, told.trained_context_size, told.thinks) == (256, 4096, False)
    assert told.parameter_size.endswith("M")


def test_an_embedding_models_file() -> None:
    told = about(minilm_gguf())
    assert (told.architecture, told.embedding_size, told.trained_context_size) == ("bert", 384, 512)


def test_a_template_behind_a_long_vocabulary_is_found(tmp_path: Path) -> None:
    assert about(write_thinker(tmp_path / "m.gguf")).thinks
    keys: dict[str, Value] = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": ["x" * 1000] * 3000,  # longer than what is read at once
        "tokenizer.chat_template": "{{ enable_thinking }}",
    }
    assert about(gguf(tmp_path / "long.gguf", keys, 4 << 20)).thinks


def test_the_makers_own_label_counts(tmp_path: Path) -> None:
    keys: dict[str, Value] = {"general.architecture": "qwen3", "general.size_label": "8B"}
    assert about(gguf(tmp_path / "m.gguf", keys)).parameter_size == "8B"


@pytest.mark.parametrize(
    ("count", "said"),
    [(7_241_732_096, "7.2B"), (134_515_008, "134.52M"), (22_700_000, "22.70M"), (0, "")],
)
def test_numbers_for_people(count: float, said: str) -> None:
    assert counted(count) == said


def folder(path: Path, config: dict[str, Any], **texts: str) -> Path:
    path.mkdir()
    weights = {"dtype": "BF16", "shape": [1000, 1000], "data_offsets": [0, 2_000_000]}
    (path / "model.safetensors").write_bytes(safetensors({"w": 2_000_000}, w=weights))
    (path / "config.json").write_text(json.dumps(config))
    for name, text in texts.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def test_a_folder_of_safetensors(tmp_path: Path) -> None:
    config = {"model_type": "qwen3", "hidden_size": 64, "max_position_embeddings": 2048}
    told = about(folder(tmp_path / "m", config, chat_template__jinja="<think>"))
    assert told == About("safetensors", "qwen3", "1.00M", "F16", 64, 2048, thinks=True)
    packed = {"model_type": "llama", "quantization_config": {"quant_method": "exl2"}}
    assert about(folder(tmp_path / "q", packed)) == About("safetensors", "llama", "", "EXL2")


@pytest.mark.parametrize("raw", [b"", b"GGUF", b"not one at all" * 400, b"GGUF\3\0\0\0" + b"\xff" * 64])
def test_what_is_broken_says_nothing(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    assert about(path) == About()


@pytest.mark.parametrize("config", ["", "[", "[1]", '{"hidden_size": "big", "model_type": 5}'])
def test_nonsense_beside_safetensors_is_left_out(tmp_path: Path, config: str) -> None:
    path = folder(tmp_path / "m", {})
    (path / "config.json").write_text(config)
    assert about(path).embedding_size == 0
