"""What weights take: their size, and the key-value cache for each token of context, by what their files say.

Of GGUF the head tells both; of safetensors the heads tell the size, and a config.json beside them the cache. Files that
are broken, or tell nonsense, are reported and leave the size of the files.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from weft_common.gguf import BrokenGguf, GgufHead, Value, open_head, parts
from weft_common.safetensors import BrokenSafetensors, TensorSizes, shards, tensor_sizes
from weft_router.about_files import about
from weft_router.cache_size import token_bytes
from weft_router.fleet.about import About

# llama.cpp rounds the context of a slot up to as many tokens, and keeps half-precision keys and values.
_CONTEXT_STEP = 256
_BYTES = 2
_SIZES = frozenset(
    {
        "block_count",
        "embedding_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.causal",
    }
)
_MAX_FILES = 10_000
_MAX_TOKEN_BYTES = 1 << 30
_CONFIG = "config.json"
_MAX_CONFIG_BYTES = 4 << 20

_log = logging.getLogger(__name__)

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes; 0 where this machine does not have the files, or cannot read what they say.

    `half_bytes` of the size are safetensors of 16-bit numbers.
    """

    size_bytes: int = 0
    kv_token_bytes: int = 0
    half_bytes: int = 0

    def kv_bytes(self, context_size: int, slot_count: int) -> int:
        """Return what the caches of all slots take; sliding windows, which need less, are not looked at."""
        return self.kv_token_bytes * math.ceil(context_size / _CONTEXT_STEP) * _CONTEXT_STEP * slot_count


class Shelf:
    """Looks at weights; reads a file's head again only when it has changed. State: what was read, by path."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Stamp, Weights, About]] = {}

    def look(self, paths: Iterable[Path]) -> Mapping[Path, Weights]:
        """Describe the weights at these paths. Blocks on the disk: call it from a thread."""
        self._known = {path: self._looked_at(path) for path in paths}
        return {path: weights for path, (_, weights, _) in self._known.items()}

    def about(self, path: Path) -> About:
        """What the weights said about themselves when they were last looked at."""
        known = self._known.get(path)
        return About() if known is None else known[2]

    def _looked_at(self, path: Path) -> tuple[Stamp, Weights, About]:
        stamp = _stamp(path)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known
        size_bytes = sum(size for name, size, _ in stamp if path.is_dir() or name != _CONFIG)
        if not size_bytes:
            return stamp, Weights(), About()
        tensors = _tensor_sizes(path)
        kv_token_bytes = _bounded(_kv_token_bytes(path))
        weights = Weights(tensors.total_bytes or size_bytes, kv_token_bytes, tensors.half_bytes)
        return stamp, weights, about(path, size_bytes, tensors)


def _stamp(path: Path) -> Stamp:
    """Name, size and time of every file; nothing where one is missing, since the rest would tell too little."""
    if not path.is_absolute():  # an engine's own name for a model, not a file
        return ()
    try:
        found = _files(path) if path.is_dir() else (*parts(path), *_config_beside(path))
        stats = [(file, file.stat()) for file in found]
    except OSError:
        return ()
    return tuple((file.name, stat.st_size, stat.st_mtime_ns) for file, stat in stats)


def _files(folder: Path) -> Sequence[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return files[:_MAX_FILES]


def _config_beside(path: Path) -> Sequence[Path]:
    """A lone safetensors file may have the config of its folder."""
    config = path.with_name(_CONFIG)
    return (config,) if path.suffix == ".safetensors" and config.is_file() else ()


def _tensor_sizes(path: Path) -> TensorSizes:
    """What safetensors take once they are loaded; 0 where there are none, or they are broken."""
    try:
        files = shards(path) if path.is_dir() else (path,) if path.suffix == ".safetensors" else ()
        sizes = [tensor_sizes(file) for file in files]
    except (OSError, BrokenSafetensors) as error:
        _log.warning("weights_not_understood", extra={"path": str(path), "reason": str(error)})
        return TensorSizes(0, 0)
    return TensorSizes(sum(each.total_bytes for each in sizes), sum(each.half_bytes for each in sizes))


def _kv_token_bytes(path: Path) -> int:
    if path.is_dir():
        return _by_config(path / _CONFIG)
    if path.suffix == ".safetensors":
        return _by_config(path.with_name(_CONFIG))
    return _by_head(path) if path.suffix == ".gguf" else 0


def _by_config(path: Path) -> int:
    try:
        with path.open("rb") as file:
            config = orjson.loads(file.read(_MAX_CONFIG_BYTES))
    except FileNotFoundError:
        return 0
    except (OSError, orjson.JSONDecodeError) as error:
        _log.warning("weights_not_understood", extra={"path": str(path), "reason": str(error)})
        return 0
    return token_bytes(config) if isinstance(config, dict) else 0


def _bounded(found_bytes: int) -> int:
    return found_bytes if 0 <= found_bytes <= _MAX_TOKEN_BYTES else 0


def _by_head(path: Path) -> int:
    try:
        with open_head(path) as head:
            found = _kv_values(_sizes(head))
    except (OSError, BrokenGguf) as error:
        _log.warning("weights_not_understood", extra={"path": str(path), "reason": str(error)})
        return 0
    return found * _BYTES


def _sizes(head: GgufHead) -> Mapping[str, Value]:
    """Take what an architecture says of its layers and heads; the vocabulary behind that is long."""
    architecture, sizes = "", dict[str, Value]()
    for key in head.walk():
        if key.startswith("tokenizer.") and architecture and f"{architecture}.block_count" in sizes:
            break
        if key == "general.architecture":
            architecture = str(head.value())
        elif key.partition(".")[2] in _SIZES and (value := head.value()) is not None:
            sizes[key] = value
    return {key.removeprefix(f"{architecture}."): value for key, value in sizes.items()}


def _kv_values(sizes: Mapping[str, Value]) -> int:
    """Count the numbers that a token leaves in the cache, over all layers; models that only encode keep none."""
    if sizes.get("attention.causal") is False:
        return 0
    layers = _integer(sizes.get("block_count"))
    heads = _each(sizes.get("attention.head_count"), layers)
    kv_heads = _each(sizes.get("attention.head_count_kv"), layers) or heads
    default = _integer(sizes.get("embedding_length")) // max((1, *heads))
    key = _integer(sizes.get("attention.key_length")) or default
    value = _integer(sizes.get("attention.value_length")) or default
    return sum(kv_heads) * (key + value)


def _each(value: Value | None, layers: int) -> list[int]:
    """One number for each layer, or one for all."""
    if isinstance(value, list):
        return [_integer(item) for item in value]
    return [_integer(value)] * min(layers, 4096) if value else []


def _integer(value: Value | None) -> int:
    return value if isinstance(value, int) and value > 0 else 0
