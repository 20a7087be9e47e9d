"""Model files for exllama engines are read whole, or refused with the option that is wrong."""

import json
from pathlib import Path

import pytest

from weft_common.errors import LoadFailed
from weft_common.model_file import read_model_file
from weft_worker.engines.base import EngineModel
from weft_worker.engines.exllama.options import Lora, Plan, read_plan


def _plan(path: str = "/models/m", context_size: int = 4096, slot_count: int = 4, **options: str) -> Plan:
    return read_plan(
        EngineModel("m", path, context_size=context_size, slot_count=slot_count, options=options)
    )


def _adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_without_options_everything_is_as_the_library_likes_it() -> None:
    plan = _plan()
    assert (plan.cache_type, plan.gpu_split, plan.max_chunk_size, plan.paged) == ("fp16", (), 2048, "auto")
    assert (plan.draft_folder, plan.draft_count, plan.loras) == (None, 0, ())


def test_options_of_others_mean_nothing() -> None:
    assert _plan(parallel="4", n_parallel="4") == _plan()


def test_a_split_is_in_gigabytes_for_each_device() -> None:
    assert _plan(gpu_split="20, 23.5").gpu_split == (20.0, 23.5)


@pytest.mark.parametrize(
    ("told", "field", "value"),
    [
        ("paged: true", "paged", "true"),
        ("paged: False", "paged", "false"),
        ("paged: AUTO", "paged", "auto"),
        ("gpu_split: [20, 24]", "gpu_split", (20.0, 24.0)),
        ("gpu_split: 20,24", "gpu_split", (20.0, 24.0)),
        ("gpu_split: 20", "gpu_split", (20.0,)),
        ("cache_type: Q8", "cache_type", "q8"),
        ("cache_type: FP16", "cache_type", "fp16"),
    ],
)
@pytest.mark.parametrize("begin", ["  ", "  - "])
def test_options_are_taken_as_model_files_write_them(
    begin: str, told: str, field: str, value: object, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text(f"name: m\nparameters: {{model: m}}\noptions:\n{begin}{told}\n")
    assert getattr(_plan(**read_model_file(tmp_path / "m.yaml").options), field) == value


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("cache_type", "q5", "options.cache_type"),
        ("gpu_split", "20,many", "options.gpu_split.1"),
        ("gpu_split", "-3", "options.gpu_split.0"),
        ("max_chunk_size", "300", "options.max_chunk_size.*multiple of 256"),
        ("draft_tokens", "9", "options.draft_tokens"),
        ("paged", "maybe", "options.paged"),
        ("cache_typ", "q4", "options.cache_typ"),
        ("draft_model", "nowhere", "options.draft_model: there is no folder nowhere"),
        ("lora_adapter", "/nowhere/lora", "options.lora_adapter: there is no folder /nowhere/lora"),
        ("chat_template", "none.jinja", "options.chat_template: there is no file none.jinja"),
        ("lora_scale", "0.5", "options.lora_scale: there is no lora_adapter"),
    ],
)
def test_what_is_wrong_is_named(option: str, value: str, words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        _plan(**{option: value})


def test_sizes_are_whole_pages_that_hold_the_context() -> None:
    plan = _plan(context_size=500, slot_count=2)
    assert (plan.sequence_size, plan.longest_size, plan.chunk_size, plan.step_size) == (512, 512, 512, 512)


def test_many_slots_have_room_for_a_step_of_all() -> None:
    plan = _plan(context_size=256, slot_count=100)
    assert plan.sequence_size == 256
    assert plan.step_size >= 8 * 100
    assert plan.longest_size >= plan.step_size


def test_what_a_draft_model_proposes_has_room_beyond_the_context(tmp_path: Path) -> None:
    (tmp_path / "draft").mkdir()
    plan = _plan(str(tmp_path / "model"), context_size=512, draft_model="draft", draft_tokens="3")
    assert (plan.draft_folder, plan.draft_count, plan.sequence_size) == (tmp_path / "draft", 3, 768)


def test_adapters_are_found_below_the_models_folder_and_scaled(tmp_path: Path) -> None:
    one, two = _adapter(tmp_path / "loras" / "one"), _adapter(tmp_path / "two")
    plan = _plan(
        str(tmp_path / "llama" / "8b"),
        lora_adapter="loras/one",
        lora_adapter_2=str(two),
        lora_scale_2="0.5",
    )
    assert plan.loras == (Lora(one, 1.0), Lora(two, 0.5))


def test_a_chat_template_is_a_file_below_the_models_folder_or_anywhere(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").touch()
    for told in ("chat.jinja", str(tmp_path / "chat.jinja")):
        plan = _plan(str(tmp_path / "llama" / "8b"), chat_template=told)
        assert plan.chat_template == tmp_path / "chat.jinja"
    assert _plan().chat_template is _plan(chat_template="").chat_template is None


def test_an_adapter_that_only_unpickling_could_read_is_refused(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "lora")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(LoadFailed, match=r"adapter_model\.safetensors"):
        _plan(lora_adapter=str(folder))


def test_a_scale_is_a_number(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="lora_adapters"):
        _plan(lora_adapter=str(_adapter(tmp_path / "lora")), lora_scale="much")
