"""The vocabulary in a GGUF file, as far as it says which prompts cannot fit whatever their words are."""

from pathlib import Path

from weft_common.gguf import BrokenGguf, GgufHead, open_head
from weft_worker.engines.base import Asked, Completion
from weft_worker.engines.limits import messages_too_long, prompt_too_long

# Only tokenizers that lose nothing of a text; others may collapse spaces or drop accents first.
_LOSSLESS = frozenset({"llama", "gpt2"})
_SEPARATORS = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id")
_MODEL, _TOKENS = "tokenizer.ggml.model", "tokenizer.ggml.tokens"


def longest_token_bytes(path: Path) -> int | None:
    """Measure the longest token of a file that the library has taken; None where that bounds nothing."""
    try:
        with open_head(path) as head:
            return _longest(head)
    except (OSError, BrokenGguf):  # a bound is worth less than a model that loads
        return None


def separating_token(path: Path) -> int | None:
    """Find what stands before a new document, in a file that the library has taken: what begins one, or ends one."""
    found: dict[str, object] = {}
    try:
        with open_head(path) as head:
            for key in head.walk():
                if key in _SEPARATORS:
                    found[key] = head.value()
    except (OSError, BrokenGguf):
        return None
    told = (found.get(key) for key in _SEPARATORS)
    return next((token for token in told if isinstance(token, int)), None)


def check_may_fit(asked: Asked, context_size: int, token_bytes: int | None) -> None:
    """Raise ContextLengthExceeded where even the longest tokens could not fit the text into the context.

    The library would take long to find out, and cannot be cancelled meanwhile. Templates may strip messages.
    """
    if isinstance(asked, Completion) and not isinstance(asked.prompt, str):
        if len(asked.prompt) >= context_size:
            raise prompt_too_long(asked, len(asked.prompt), context_size)
        return
    if token_bytes is None:
        return
    texts = (
        [str(asked.prompt), asked.suffix]
        if isinstance(asked, Completion)
        else [message.content for message in asked.messages]
    )
    count = sum(len(text.strip().encode()) for text in texts)
    if count <= context_size * token_bytes:
        return
    least = -(-count // token_bytes)
    if isinstance(asked, Completion):
        raise prompt_too_long(asked, least, context_size)
    raise messages_too_long(least, context_size)


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
