"""What a model file says to the exllama engines, and what that makes of the model's size in tokens."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from weft_common.errors import LoadFailed
from weft_common.remote_backends import OURS
from weft_worker.engines.base import EngineModel

PAGE_TOKENS = 256
# The generators look at so many tokens of a sequence in one step, those that a draft model proposes among them.
_STEP_TOKENS = 8
_LORA = re.compile(r"lora_(adapter|scale)(_[0-9]{1,2})?")
_MAX_CHUNK_TOKENS = 1 << 14

CacheType = Literal["fp16", "q8", "q6", "q4"]


class ExllamaOptions(BaseModel):
    """The `options` of a model file; docs/engines.md has them for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cache_type: CacheType = "fp16"
    gpu_split: tuple[Annotated[float, Field(gt=0, le=4096, allow_inf_nan=False)], ...] = ()
    max_chunk_size: Annotated[int, Field(ge=PAGE_TOKENS, le=_MAX_CHUNK_TOKENS, multiple_of=PAGE_TOKENS)] = (
        2048
    )
    draft_model: str = ""
    draft_tokens: Annotated[int, Field(ge=1, le=_STEP_TOKENS - 1)] = 4
    paged: Literal["auto", "true", "false"] = "auto"
    chat_template: str = ""
    lora_adapters: tuple[tuple[str, Annotated[float, Field(allow_inf_nan=False)]], ...] = ()
    """Folders, and how much each counts."""

    @field_validator("cache_type", "paged", mode="before")
    @classmethod
    def _in_any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("gpu_split", mode="before")
    @classmethod
    def _gpu_split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter that is part of the model as long as it is loaded."""

    folder: Path
    scale: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A model as it is to be loaded, sizes in tokens."""

    name: str
    folder: Path
    context_size: int
    slot_count: int
    cache_type: CacheType
    gpu_split: tuple[float, ...]
    paged: Literal["auto", "true", "false"]
    max_chunk_size: int
    draft_folder: Path | None
    draft_count: int
    loras: tuple[Lora, ...]
    chat_template: Path | None
    """Goes before those in the folder."""

    @property
    def sequence_size(self) -> int:
        """What one sequence may grow to, in whole pages, with what a draft model proposes beyond its end."""
        return whole_pages(self.context_size + self.draft_count)

    @property
    def longest_size(self) -> int:
        """The same, or more where as many tokens are looked at in a step of all slots."""
        return max(self.sequence_size, whole_pages(_STEP_TOKENS * self.slot_count))

    @property
    def chunk_size(self) -> int:
        """So many tokens of a prompt are read in one step."""
        return min(self.max_chunk_size, self.longest_size)

    @property
    def step_size(self) -> int:
        """The most tokens that go through the model at once."""
        return max(self.chunk_size, whole_pages(_STEP_TOKENS * self.slot_count))


def read_plan(model: EngineModel) -> Plan:
    """Read the options of a model file; raises LoadFailed that names the first bad one. Looks at folders: blocks."""
    options = _read_options(model.options)
    draft = _folder("draft_model", options.draft_model, model.path) if options.draft_model else None
    return Plan(
        name=model.name,
        folder=Path(model.path),
        context_size=model.context_size,
        slot_count=model.slot_count,
        cache_type=options.cache_type,
        gpu_split=options.gpu_split,
        paged=options.paged,
        max_chunk_size=options.max_chunk_size,
        draft_folder=draft,
        draft_count=options.draft_tokens if draft else 0,
        loras=tuple(_lora(path, scale, model.path) for path, scale in options.lora_adapters),
        chat_template=_chat_template(options.chat_template, model.path),
    )


def _read_options(told: Mapping[str, str]) -> ExllamaOptions:
    plain = {key: value for key, value in told.items() if key not in OURS and not _LORA.fullmatch(key)}
    try:
        return ExllamaOptions.model_validate({**plain, "lora_adapters": tuple(_adapters(told))})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(("options", *map(str, first["loc"])))
        raise LoadFailed(f"{field}: {first['msg']}.") from None


def _adapters(told: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`lora_adapter` with its `lora_scale`, `lora_adapter_2` with `lora_scale_2`, and so on."""
    for key in sorted(told):
        match = _LORA.fullmatch(key)
        if match is None:
            continue
        kind, number = match[1], match[2] or ""
        if kind == "adapter":
            yield told[key], told.get(f"lora_scale{number}", "1")
        elif f"lora_adapter{number}" not in told:
            raise LoadFailed(f"options.{key}: there is no lora_adapter{number} that it could scale.")


def _lora(path: str, scale: float, model_path: str) -> Lora:
    folder = _folder("lora_adapter", path, model_path)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise LoadFailed(
                f"options.lora_adapter: {folder} has no {name}, so that it is no adapter to load."
            )
    return Lora(folder, scale)


def _folder(option: str, told: str, model_path: str) -> Path:
    for place in _places(told, model_path):
        if place.is_dir():
            return place
    raise LoadFailed(f"options.{option}: there is no folder {told} on this node.")


def _chat_template(told: str, model_path: str) -> Path | None:
    for place in _places(told, model_path) if told else ():
        if place.is_file():
            return place
    if told:
        raise LoadFailed(f"options.chat_template: there is no file {told} on this node.")
    return None


def _places(told: str, model_path: str) -> Sequence[Path]:
    """Where it may be on this node: as it stands, or below the folder of all models, which is above this one's."""
    return [Path(told)] if Path(told).is_absolute() else [up / told for up in Path(model_path).parents]


def whole_pages(token_count: int) -> int:
    """So many tokens, and what fills their last page."""
    return -(-token_count // PAGE_TOKENS) * PAGE_TOKENS
