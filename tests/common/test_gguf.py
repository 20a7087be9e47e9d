import struct
from pathlib import Path

import pytest

from tests.common.gguf_files import head
from weft_common.gguf import BrokenGguf, open_head, parts

PAIRS = {
    "general.architecture": "llama",
    "llama.block_count": 3,
    "llama.attention.head_count_kv": [2, 0, 2],
    "tokenizer.ggml.tokens": ["a", "abcde", "é"],
    "tokenizer.ggml.scores": list(range(5000)),
    "last": 7,
}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return path


def test_numbers_texts_and_short_lists_are_read_and_the_rest_is_passed_over(tmp_path: Path) -> None:
    with open_head(written(tmp_path, head(PAIRS))) as found:
        values = {key: found.value() for key in found.walk()}
    assert values == PAIRS | {"tokenizer.ggml.tokens": None, "tokenizer.ggml.scores": None}


def test_values_need_not_be_taken(tmp_path: Path) -> None:
    with open_head(written(tmp_path, head(PAIRS))) as found:
        assert list(found.walk()) == list(PAIRS)


def test_texts_are_measured(tmp_path: Path) -> None:
    with open_head(written(tmp_path, head(PAIRS))) as found:
        lengths = [list(found.text_lengths()) for key in found.walk() if key == "tokenizer.ggml.tokens"]
    assert lengths == [[1, 5, 2]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"PK\x03\x04" + bytes(100),
        head(PAIRS, version=1),
        head(PAIRS)[:-3],
        b"GGUF" + b"\xff" * 1000,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sII", 1, b"k", 99, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"k", 9, 8, 1 << 60),
    ],
    ids=["empty", "short", "zip", "version", "cut", "garbage", "long key", "kind", "endless list"],
)
def test_what_is_no_head_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BrokenGguf), open_head(written(tmp_path, content)) as found:
        for _ in found.walk():
            found.value()


def test_a_split_model_has_parts() -> None:
    first = Path("/m/big-q8-00001-of-00003.gguf")
    assert [part.name[7:12] for part in parts(first)] == ["00001", "00002", "00003"]
    assert parts(Path("/m/plain.gguf")) == (Path("/m/plain.gguf"),)
