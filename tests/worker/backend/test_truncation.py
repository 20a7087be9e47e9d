"""Texts are cut where they are too long, and no sooner."""

from collections.abc import Sequence

import pytest

from weft_worker.backend.truncation import cut_to_fit
from weft_worker.engines.abilities import Conversation, Input, Tokens


class _Words:
    """Has a token for each word, and for what is left of one."""

    def __init__(self) -> None:
        self.read: list[str] = []

    async def tokenize(self, text: str | Conversation, *, with_pieces: bool = False) -> Tokens:
        assert isinstance(text, str)
        self.read.append(text)
        return Tokens(tuple(range(len(text.split()))))


async def _cut(texts: Sequence[Input], context_size: int) -> tuple[list[Input], int]:
    words = _Words()
    return await cut_to_fit(words, texts, context_size), len(words.read)


async def test_short_texts_are_not_even_counted() -> None:
    assert await _cut(["cat", "a b c"], 10) == (["cat", "a b c"], 0)


@pytest.mark.parametrize(("text", "kept"), [("a b c d", "a b c"), ("é é é é é", "é é é"), ("a b c", "a b c")])
async def test_the_beginning_is_kept(text: str, kept: str) -> None:
    (found,), _ = await _cut([text], 5)
    assert str(found).strip() == kept


async def test_few_looks_find_the_place() -> None:
    words = _Words()
    (found,) = await cut_to_fit(words, ["some words of any length " * 200], 258)
    assert len(str(found).split()) == 256
    assert len(words.read) <= 6


async def test_tokens_are_cut_to_what_fits_as_they_are() -> None:
    assert await _cut([(1, 2, 3, 4, 5, 6)], 5) == ([(1, 2, 3, 4, 5)], 0)


async def test_a_text_without_end_is_not_read_to_its_end() -> None:
    words = _Words()
    (found,) = await cut_to_fit(words, ["cat " * 1_000_000], 12)
    assert str(found).split() == ["cat"] * 10
    assert max(map(len, words.read)) < 1000
