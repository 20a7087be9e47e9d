"""The vocabulary in a GGUF file, as far as it says which prompts cannot fit whatever their words are."""

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path

from weft_common.errors import ContextLengthExceeded, FieldViolation
from weft_worker.engines.base import Message

# Only tokenizers that lose nothing of a text; others may collapse spaces or drop accents first.
_LOSSLESS = frozenset({b"llama", b"gpt2"})
_MODEL, _TOKENS = b"tokenizer.ggml.model", b"tokenizer.ggml.tokens"
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def longest_token_bytes(path: Path) -> int | None:
    """Measure the longest token of a file that the library has taken; None where that bounds nothing."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Reader(content).longest_token_bytes()
    except (
        OSError,
        ValueError,
        KeyError,
        OverflowError,
        struct.error,
    ):  # a bound is worth less than a model that loads
        return None


def check_may_fit(messages: Sequence[Message], context_size: int, token_bytes: int | None) -> None:
    """Raise ContextLengthExceeded where even the longest tokens could not fit the text into the context.

    The library would take long to find out, and cannot be cancelled meanwhile. Templates may strip messages.
    """
    if token_bytes is None:
        return
    count = sum(len(message.content.strip().encode()) for message in messages)
    if count > context_size * token_bytes:
        text = (
            f"This model's maximum context length is {context_size} tokens. However, your messages resulted in "
            f"more than that: they have {count} bytes. Please reduce the length of the messages."
        )
        raise ContextLengthExceeded(text, violations=[FieldViolation("messages", text)])


class _Reader:
    """Walks over the key-value pairs at the head of a file; state: the place."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._place = 16

    def longest_token_bytes(self) -> int | None:
        """Read until both are known: the merges that follow may be many."""
        longest: int | None = None
        lossless: bool | None = None
        for _ in range(self._number("<Q")):
            if longest is not None and lossless is not None:
                break
            key, kind = self._text(), self._number("<I")
            if key == _MODEL and kind == _STRING:
                lossless = self._text() in _LOSSLESS
            elif key == _TOKENS and kind == _ARRAY:
                self._place += 4  # of strings, always
                longest = max((self._skip_text() for _ in range(self._number("<Q"))), default=None)
            else:
                self._skip(kind)
        return longest if lossless else None

    def _number(self, form: str) -> int:
        (number,) = struct.unpack_from(form, self._content, self._place)
        self._place += struct.calcsize(form)
        return int(number)

    def _text(self) -> bytes:
        length = self._skip_text()
        return self._content[self._place - length : self._place]

    def _skip_text(self) -> int:
        length = self._number("<Q")
        self._place += length
        return length

    def _skip(self, kind: int) -> None:
        if kind == _STRING:
            self._skip_text()
        elif kind != _ARRAY:
            self._place += _SIZES[kind]
        else:
            kind, count = self._number("<I"), self._number("<Q")
            if kind in _SIZES:
                self._place += _SIZES[kind] * count
            else:
                for _ in range(count):
                    self._skip(kind)
