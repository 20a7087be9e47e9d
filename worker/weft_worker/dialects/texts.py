"""How much may be read at once, in whatever dialect it comes."""

from collections.abc import Sequence

MAX_INPUT_COUNT = 2048
MAX_TEXT_BYTES = 4 << 20
# A token takes hundreds of bytes on its way where its own bytes are told.
MAX_BYTES_WITH_PIECES = 256 << 10


def is_too_large(text: Sequence[object], most: int = MAX_TEXT_BYTES) -> bool:
    """Whether a text has more bytes than that, or a list more tokens."""
    # Of a text that is short enough in letters the bytes are counted.
    size = len(text) if not isinstance(text, str) or len(text) > most else len(text.encode())
    return size > most


def too_large(most: int = MAX_TEXT_BYTES) -> str:
    """What is wrong with a text that is."""
    return f"Should be {most >> 10:,} KiB at most"
