"""Reads what the files of a model say about it: the head of a GGUF file, or the config beside safetensors."""

import logging
import struct
from collections.abc import Mapping
from pathlib import Path

import orjson

from weft_common.chat_templates import template_thinks
from weft_common.gguf import BrokenGguf, GgufHead, Value, open_head, parts
from weft_common.safetensors import TensorSizes
from weft_router.fleet.about import About, counted

# llama.cpp's kinds of files.
_QUANTIZATIONS: Mapping[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
}
# Bits that a number takes with its share of the scales, about, by the first digit of the kind's name.
_BITS: Mapping[str, float] = {
    "1": 1.9,
    "2": 2.9,
    "3": 3.8,
    "4": 4.7,
    "5": 5.6,
    "6": 6.6,
    "8": 8.5,
}
_WHOLE_BITS: Mapping[str, float] = {"F32": 32, "F16": 16, "BF16": 16}
_GENERAL = frozenset({"general.architecture", "general.file_type", "general.size_label"})
_SIZES = frozenset({"context_length", "embedding_length"})
_TEMPLATE_KEY = b"tokenizer.chat_template"
_STRING_KIND = 8
_CHUNK_BYTES = 1 << 20
_MAX_SEARCH_BYTES = 48 << 20
_MAX_TEMPLATE_BYTES = 1 << 20
_MAX_FILE_BYTES = 8 << 20

_log = logging.getLogger(__name__)


def about(path: Path, size_bytes: int, tensors: TensorSizes) -> About:
    """Describe the weights at a path; what cannot be read is left out. Blocks on the disk."""
    try:
        if path.suffix == ".gguf":
            return _about_gguf(path, size_bytes)
        if tensors.total_bytes:
            return _about_folder(path if path.is_dir() else path.parent, tensors)
    except (OSError, BrokenGguf, orjson.JSONDecodeError, struct.error) as error:
        _log.debug("weights_not_described", extra={"path": str(path), "reason": str(error)})
    return About()


def _about_gguf(path: Path, size_bytes: int) -> About:
    first = parts(path)[0]
    with open_head(first) as head:
        found = _taken(head)
    architecture = str(found.get("general.architecture", ""))
    kind = found.get("general.file_type")
    quantization = _QUANTIZATIONS.get(kind, "") if isinstance(kind, int) else ""
    bits = _WHOLE_BITS.get(quantization) or _BITS.get(next(filter(str.isdigit, quantization), ""), 0)
    label = str(found.get("general.size_label", ""))
    return About(
        format="gguf",
        architecture=architecture[:64],
        parameter_size=label[:32] or (counted(size_bytes * 8 / bits) if bits else ""),
        quantization=quantization,
        embedding_size=_size(found.get(f"{architecture}.embedding_length")),
        trained_context_size=_size(found.get(f"{architecture}.context_length")),
        thinks=template_thinks(_gguf_template(first)),
    )


def _taken(head: GgufHead) -> Mapping[str, Value]:
    """Take what is wanted of what stands before the vocabulary, which is long."""
    found = dict[str, Value]()
    for key in head.walk():
        if key.startswith("tokenizer."):
            break
        if (key in _GENERAL or key.partition(".")[2] in _SIZES) and (value := head.value()) is not None:
            found[key] = value
    return found


def _gguf_template(path: Path) -> str:
    """The chat template, which stands behind the vocabulary: looked for as bytes, since walking there takes long."""
    with path.open("rb") as file:
        read, at, offset = b"", -1, 0
        while at < 0 and offset < _MAX_SEARCH_BYTES and (chunk := file.read(_CHUNK_BYTES)):
            # The key may lie across two of them.
            read = read[-len(_TEMPLATE_KEY) :] + chunk
            at = read.find(_TEMPLATE_KEY)
            offset += len(chunk)
        if at < 0:
            return ""
        file.seek(offset - len(read) + at + len(_TEMPLATE_KEY))
        kind, length = struct.unpack("<IQ", file.read(12))
        if kind != _STRING_KIND or length > _MAX_TEMPLATE_BYTES:
            return ""
        return file.read(length).decode(errors="replace")


def _about_folder(folder: Path, tensors: TensorSizes) -> About:
    config = _json(folder / "config.json")
    quantized = config.get("quantization_config")
    method = quantized.get("quant_method") if isinstance(quantized, dict) else ""
    halves = tensors.half_bytes * 2 > tensors.total_bytes
    # Of packed numbers nobody knows how many there are.
    count = 0 if method else tensors.half_bytes / 2 + (tensors.total_bytes - tensors.half_bytes) / 4
    templates = _text(folder / "chat_template.jinja") + _text(folder / "tokenizer_config.json")
    return About(
        format="safetensors",
        architecture=str(config.get("model_type") or "")[:64],
        parameter_size=counted(count),
        quantization=str(method)[:32].upper() if method else ("F16" if halves else "F32"),
        embedding_size=_size(config.get("hidden_size")),
        trained_context_size=_size(config.get("max_position_embeddings")),
        thinks=template_thinks(templates),
    )


def _json(path: Path) -> Mapping[str, object]:
    read = orjson.loads(_text(path) or "{}")
    return read if isinstance(read, dict) else {}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _size(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 1 << 31 else 0
