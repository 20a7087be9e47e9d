"""The vocabulary in a GGUF file, as far as it says which prompts cannot fit whatever their words are."""

from collections.abc import Sequence
from pathlib import Path

from weft_common.errors import ContextLengthExceeded, FieldViolation
from weft_common.gguf import BrokenGguf, GgufHead, open_head
from weft_worker.engines.base import Message

# Only tokenizers that lose nothing of a text; others may collapse spaces or drop accents first.
_LOSSLESS = frozenset({"llama", "gpt2"})
_MODEL, _TOKENS = "tokenizer.ggml.model", "tokenizer.ggml.tokens"


def longest_token_bytes(path: Path) -> int | None:
    """Measure the longest token of a file that the library has taken; None where that bounds nothing."""
    try:
        with open_head(path) as head:
            return _longest(head)
    except (OSError, BrokenGguf):  # a bound is worth less than a model that loads
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


def _longest(head: GgufHead) -> int | None:
    """Read until both are known: the merges that follow may be many."""
    longest: int | None = None
    lossless: bool | None = None
    for key in head.walk():
        if key == _MODEL:
            lossless = head.value() in _LOSSLESS
        elif key == _TOKENS:
            longest = max(head.text_lengths(), default=None)
        if longest is not None and lossless is not None:
            break
    return longest if lossless else None
