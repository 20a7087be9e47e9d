"""What the vocabulary says about prompts before the library sees them."""

import struct
from pathlib import Path

import pytest

from tests.worker.engines.answers import WEFT_TINY
from weft_common.errors import ContextLengthExceeded
from weft_worker.engines.base import Completion, Generation, Message, Role, Sampling
from weft_worker.engines.llamacpp.vocabulary import check_may_fit, longest_token_bytes


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _file(model: bytes, tokens: list[bytes]) -> bytes:
    pairs = [
        _text(b"general.name") + struct.pack("<I", 8) + _text(b"m"),
        _text(b"numbers") + struct.pack("<IIQ", 9, 4, 2) + bytes(8),
        _text(b"lists") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 0, 3) + b"abc",
        _text(b"tokenizer.ggml.model") + struct.pack("<I", 8) + _text(model),
        _text(b"flag") + struct.pack("<I?", 7, True),
        _text(b"tokenizer.ggml.tokens")
        + struct.pack("<IIQ", 9, 8, len(tokens))
        + b"".join(map(_text, tokens)),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


@pytest.mark.parametrize(
    ("content", "longest"),
    [
        (_file(b"gpt2", [b"a", b"abcde", b"abc"]), 5),
        (_file(b"llama", [b"abc"]), 3),
        (_file(b"bert", [b"abc"]), None),
        (_file(b"gpt2", []), None),
        (_file(b"gpt2", [b"a", b"abcde"])[:-30], None),
        (b"GGUF" + b"\xff" * 1000, None),
        (b"", None),
    ],
    ids=["bpe", "sentencepiece", "lossy", "empty", "truncated", "garbage", "nothing"],
)
def test_the_longest_token_is_measured(tmp_path: Path, content: bytes, longest: int | None) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert longest_token_bytes(path) == longest


def test_the_model_that_weft_ships_has_a_bound() -> None:
    assert 1 < (longest_token_bytes(WEFT_TINY) or 0) < 100


@pytest.mark.parametrize(
    ("content", "fits"),
    [("x" * 40, True), ("x" * 41, False), ("é" * 20, True), ("é" * 21, False), (" " * 99 + "x" * 40, True)],
)
def test_only_what_cannot_fit_is_refused(content: str, fits: bool) -> None:
    for asked, words in (
        (Generation((Message(Role.USER, content),)), "However, your messages resulted in 11 tokens"),
        (Completion(content), r"\(11 in your prompt; 0 for the completion\)"),
    ):
        check_may_fit(asked, 10, None)
        if fits:
            check_may_fit(asked, 10, 4)
        else:
            with pytest.raises(ContextLengthExceeded, match=f"maximum context length is 10 tokens.*{words}"):
                check_may_fit(asked, 10, 4)


def test_tokens_are_counted_as_they_are() -> None:
    check_may_fit(Completion((1,) * 9), 10, None)
    with pytest.raises(ContextLengthExceeded, match="you requested 14 tokens"):
        check_may_fit(Completion((1,) * 10, Sampling(max_tokens=4)), 10, None)
