"""Thoughts in the text of an answer, however it is cut into pieces."""

import random

import pytest

from weft_worker.engines.base import Delta, ReasoningDelta, TokenChance, TokenLogprob
from weft_worker.engines.spoken_thoughts import SpokenThoughts


def read(text: str, sizes: list[int], *, is_open: bool = False) -> tuple[str, str]:
    """What is thought and what is said, told piece by piece."""
    spoken = SpokenThoughts(is_open=is_open)
    thoughts, said = "", ""
    places = [0]
    for size in sizes:
        places.append(places[-1] + size)
    pieces = [text[a:b] for a, b in zip(places, [*places[1:], len(text)], strict=True)]
    for told in [
        *(each for piece in pieces if piece for each in spoken.read(Delta(piece))),
        *spoken.finish(),
    ]:
        assert told.text
        if isinstance(told, ReasoningDelta):
            assert not said, "it thinks first"
            thoughts += told.text
        else:
            said += told.text
    return thoughts, said


CASES = [
    ("<think>\nA bit.\n\nMore.\n</think>\n\nYes, no.", False, "A bit.\n\nMore.", "Yes, no."),
    ("\n <think>A</think>B", False, "A", "B"),
    ("Plain <think>no thought</think>", False, "", "Plain <think>no thought</think>"),
    ("<thin", False, "", "<thin"),
    ("  <b>bold</b>", False, "", "  <b>bold</b>"),
    ("<think></think>B", False, "", "B"),
    ("<think>\n\n</think>\n\nB", False, "", "B"),
    ("<think>never ends < </thin ", False, "never ends < </thin", ""),
    ("\nA thought</think> B</think>", True, "A thought", "B</think>"),
    ("A\n</think>\n ", True, "A", ""),
    ("日本</think>語 ", True, "日本", "語 "),
    ("", False, "", ""),
    ("", True, "", ""),
    (" \n", False, "", " \n"),
]


@pytest.mark.parametrize(("text", "is_open", "thoughts", "said"), CASES)
def test_pieces_do_not_matter(text: str, is_open: bool, thoughts: str, said: str) -> None:
    choose = random.Random(1)
    for sizes in (
        [len(text)],
        [1] * len(text),
        *([choose.randrange(4) for _ in range(9)] for _ in range(50)),
    ):
        assert read(text, sizes, is_open=is_open) == (thoughts, said)


def test_an_answer_is_told_as_it_comes() -> None:
    spoken = SpokenThoughts(is_open=False)
    assert spoken.read(Delta("<thi")) == []
    assert spoken.read(Delta("nk>\nSo ")) == [ReasoningDelta("So", 2)]
    assert spoken.read(Delta("it is </")) == [ReasoningDelta(" it is", 1)]
    assert spoken.read(Delta("think>\n")) == []
    chance = TokenLogprob(TokenChance("Y", b"Y", -1.0))
    assert spoken.read(Delta("Y", 1, (chance,))) == [Delta("Y", 1, (chance,))]
    assert spoken.read(Delta("</think>")) == [Delta("</think>")]
    assert spoken.finish() == []
    assert spoken.token_count == 4
