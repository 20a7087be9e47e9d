"""What the paced engine makes of texts: vectors by their letters, scores by words in common, tokens by words."""

import zlib
from array import array
from collections.abc import Sequence

from weft_worker.engines.abilities import Conversation, Input, Score, Tokens, Vector, unit

VECTOR_SIZE = 26
VOCABULARY_SIZE = 1000


def count(given: Input) -> int:
    """Tokens of an input: its words."""
    return len(given.split()) if isinstance(given, str) else len(given)


def text_of(given: Input) -> str:
    """A text as it is; of tokens, whose words nobody knows any more, their numbers."""
    return given if isinstance(given, str) else "".join(f"#{token} " for token in given)


def vector(given: Input) -> Vector:
    """How often each letter is there; of tokens, how often each number is."""
    values = array("f", [1e-3] * VECTOR_SIZE)
    letters = [ord(letter) - ord("a") for letter in given.lower()] if isinstance(given, str) else given
    for place in letters:
        if 0 <= place < VECTOR_SIZE:
            values[place] += 1
    return Vector(unit(values), count(given))


def score(query: str, document: str) -> Score:
    """The share of the query's words that the document has."""
    asked = set(query.split())
    return Score(len(asked & set(document.split())) / len(asked), count(query) + count(document))


def tokens(text: str | Conversation, *, with_pieces: bool) -> Tokens:
    """One for each word."""
    said = text if isinstance(text, str) else " ".join(message.content for message in text.messages)
    words = [word.encode() for word in said.split()]
    return Tokens(
        tuple(zlib.crc32(word) % VOCABULARY_SIZE for word in words), tuple(words) if with_pieces else ()
    )


def too_long(inputs: Sequence[Input], context_size: int) -> tuple[int, int] | None:
    """Which input does not fit, and how many tokens it has."""
    long = ((index, count(given)) for index, given in enumerate(inputs) if count(given) > context_size)
    return next(long, None)
