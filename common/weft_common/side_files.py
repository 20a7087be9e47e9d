"""Files beside a model's weights, which LocalAI's model files name in fields of their own: here they are options.

`lora_adapter` and `lora_scale`, or the lists `lora_adapters` and `lora_scales`, become the options `lora_adapter`,
`lora_scale`, `lora_adapter_2`, `lora_scale_2` and so on; `mmproj` becomes the option of that name. Files of options
come to nodes with the weights.
"""

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path

_MAX_ADAPTERS = 16
_FILE = re.compile(r"lora_adapter(_[0-9]{1,2})?|mmproj|draft_model|chat_template")
_PROJECTOR = "mmproj"
_ONE, _SCALE, _MANY, _SCALES = "lora_adapter", "lora_scale", "lora_adapters", "lora_scales"


def side_file_options(content: Mapping[str, object]) -> dict[str, str]:
    """Give the options that these fields are; raises ValueError that names one that cannot be used."""
    found = dict(_adapters(content))
    if content.get(_PROJECTOR):
        found[_PROJECTOR] = _path(_PROJECTOR, content[_PROJECTOR])
    return found


def with_places(options: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Give the options with these files where they are, of those that are in the models folder."""
    return {
        key: str(folder / value) if value and _FILE.fullmatch(key) and _exists(folder / value) else value
        for key, value in options.items()
    }


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a NUL, or a name that no file can have
        return False


def _adapters(content: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    paths = [_path(_ONE, content[_ONE])] if content.get(_ONE) else []
    scales = [content.get(_SCALE)] if paths else []
    more, their_scales = _list(content, _MANY), _list(content, _SCALES)
    if len(their_scales) > len(more):
        raise ValueError(f"{_SCALES}: there are more than {_MANY}")
    if len(paths) + len(more) > _MAX_ADAPTERS:
        raise ValueError(f"{_MANY}: at most {_MAX_ADAPTERS} are taken")
    paths += [_path(_MANY, path) for path in more]
    scales += [*their_scales, *[None] * (len(more) - len(their_scales))]
    for number, (path, scale) in enumerate(zip(paths, scales, strict=True), start=1):
        suffix = f"_{number}" if number > 1 else ""
        yield f"{_ONE}{suffix}", path
        if scale is not None:
            yield f"{_SCALE}{suffix}", _number(scale)


def _list(content: Mapping[str, object], field: str) -> list[object]:
    told = content.get(field) or []
    if not isinstance(told, list):
        raise ValueError(f"{field}: should be a list")
    return told


def _path(field: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field}: should be the path of a file")
    return value


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{_SCALE}: should be a number")
    return str(float(value))
