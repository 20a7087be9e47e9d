"""Which files a model file gives to its model beside the weights, and where they are on this node."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from weft_common.errors import LoadFailed
from weft_common.purposes import Purpose
from weft_worker.engines.base import EngineModel
from weft_worker.engines.llamacpp.weights import check_weights

_PROJECTOR = "mmproj"
_OPTION = re.compile(r"lora_(adapter|scale)(_[0-9]{1,2})?")
_OTHERS = frozenset({"parallel", "n_parallel", "pooling", _PROJECTOR})


@dataclass(frozen=True, slots=True)
class Adapter:
    """A GGUF file with an adapter, and by how much it changes the model: 1 as it was trained, 0 not at all."""

    path: Path
    scale: float


@dataclass(frozen=True, slots=True)
class SideFiles:
    """LoRA adapters, and the projector that lets the model see."""

    adapters: tuple[Adapter, ...] = ()
    projector: Path | None = None


NO_FILES = SideFiles()


def side_files_of(model: EngineModel) -> SideFiles:
    """Find them; raises LoadFailed that names the option. Looks at the disk: call it from a thread."""
    weights = Path(model.path)
    told = model.options.get(_PROJECTOR) if model.purpose is Purpose.CHAT else None
    projector = _found(_PROJECTOR, told, weights) if told else None
    return SideFiles(tuple(_adapters(model.options, weights)), projector)


def ignored_options(options: Iterable[str]) -> list[str]:
    """Those that mean nothing here. LocalAI has many, so they are no failure; a slip of the pen may be, too."""
    return sorted(key for key in options if key not in _OTHERS and not _OPTION.fullmatch(key))


def _adapters(options: Mapping[str, str], weights: Path) -> Iterator[Adapter]:
    for key in sorted(options, key=lambda key: (len(key), key)):
        match = _OPTION.fullmatch(key)
        if match is None:
            continue
        kind, number = match[1], match[2] or ""
        if kind == "adapter":
            scale = _scale(f"lora_scale{number}", options.get(f"lora_scale{number}", "1"))
            yield Adapter(_found(key, options[key], weights), scale)
        elif f"lora_adapter{number}" not in options:
            raise LoadFailed(f"options.{key}: there is no lora_adapter{number} that it could scale.")


def _scale(option: str, told: str) -> float:
    try:
        scale = float(told)
    except ValueError:
        scale = float("nan")
    if not isfinite(scale):
        raise LoadFailed(f"options.{option}: {told!r} is no number.")
    return scale


def _found(option: str, told: str, weights: Path) -> Path:
    """As it stands, or below the folder of all models, which is above that of this one's weights."""
    places = [Path(told)] if Path(told).is_absolute() else [up / told for up in weights.parents]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise LoadFailed(f"options.{option}: there is no file {told} on this node.")
    check_weights(path)
    return path
