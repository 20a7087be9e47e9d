"""Adapters and projectors, as LocalAI's model files name them."""

from pathlib import Path

import pytest

from weft_common.errors import InvalidRequest
from weft_common.model_file import read_model_file
from weft_common.side_files import side_file_options, with_places


def test_one_adapter_or_several_become_options() -> None:
    assert side_file_options({"lora_adapter": "a.gguf", "lora_scale": 0.5}) == {
        "lora_adapter": "a.gguf",
        "lora_scale": "0.5",
    }
    several = {"lora_adapters": ["a.gguf", "b.gguf", "c.gguf"], "lora_scales": [1, 0.25]}
    assert side_file_options(several) == {
        "lora_adapter": "a.gguf",
        "lora_scale": "1.0",
        "lora_adapter_2": "b.gguf",
        "lora_scale_2": "0.25",
        "lora_adapter_3": "c.gguf",
    }
    assert side_file_options({"mmproj": "p.gguf"}) == {"mmproj": "p.gguf"}
    assert side_file_options({"lora_adapter": "", "lora_scale": 0, "mmproj": ""}) == {}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"lora_adapter": 5}, "lora_adapter"),
        ({"lora_adapters": "a"}, "lora_adapters: should be a list"),
        ({"lora_adapters": ["a"] * 17}, "at most 16"),
        ({"lora_adapter": "a", "lora_scale": "much"}, "lora_scale: should be a number"),
        ({"lora_adapters": ["a"], "lora_scales": [1, 2]}, "more than lora_adapters"),
        ({"mmproj": ["p"]}, "mmproj"),
    ],
)
def test_what_cannot_be_used_is_named(content: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        side_file_options(content)


def test_files_that_are_in_the_models_folder_are_named_by_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    told = {
        "lora_adapter": "a.gguf",
        "lora_adapter_2": "none.gguf",
        "lora_scale": "1",
        "mmproj": "a\0",
        "x": "a.gguf",
    }
    assert with_places(told, tmp_path) == {**told, "lora_adapter": str(tmp_path / "a.gguf")}
    template = {"chat_template": "a.gguf", "mmproj": ""}
    assert with_places(template, tmp_path) == {**template, "chat_template": str(tmp_path / "a.gguf")}
    absolute = {"mmproj": str(tmp_path / "a.gguf")}
    assert with_places(absolute, Path("/elsewhere")) == absolute


def test_a_model_file_has_them_among_its_options_and_changes_its_revision(tmp_path: Path) -> None:
    def read(lines: str) -> tuple[dict[str, str], str]:
        path = tmp_path / "m.yaml"
        path.write_text(f"name: a\nparameters: {{model: x}}\n{lines}\n")
        file = read_model_file(path)
        return file.options, file.revision()

    plain, adapted = read("options: [gpu:1]"), read("options: [gpu:1]\nlora_adapter: a.gguf")
    assert plain[0] == {"gpu": "1"}
    assert adapted[0] == {"gpu": "1", "lora_adapter": "a.gguf"}
    assert plain[1] != adapted[1]
    assert read("options: {lora_adapter: own.gguf}\nlora_adapter: a.gguf")[0] == {"lora_adapter": "own.gguf"}
    with pytest.raises(InvalidRequest, match="lora_scale: should be a number"):
        read("lora_adapter: a.gguf\nlora_scale: much")
