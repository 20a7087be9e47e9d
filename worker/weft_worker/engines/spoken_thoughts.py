"""Thoughts that a model writes into its text, between `<think>` and `</think>`, as most open models do. Pure."""

from dataclasses import replace
from enum import Enum

from weft_worker.engines.base import Delta, ReasoningDelta
from weft_worker.engines.held_text import HeldText, partial_end

_BEGIN, _END = "<think>", "</think>"

Told = Delta | ReasoningDelta


def thoughts_after(prompt: str) -> "SpokenThoughts":
    """A reader of what follows a prompt, in which a thought may have begun."""
    return SpokenThoughts(is_open=prompt.rstrip().endswith(_BEGIN))


class _Place(Enum):
    """Where in an answer its text is."""

    FRONT = "front"
    """Nothing is known yet but white space."""
    THOUGHT = "thought"
    BEHIND = "behind"
    """Behind the thought, before the first word of the answer."""
    ANSWER = "answer"


class SpokenThoughts:
    """Reads the text of one answer; state: what is not told yet, and where the text is.

    White space around a thought is no part of it, nor of the answer behind it. A thought may begin in the prompt: then
    the answer `is_open`.
    """

    def __init__(self, *, is_open: bool) -> None:
        self._place = _Place.THOUGHT if is_open else _Place.FRONT
        self._held = HeldText()
        self._has_thought = False
        self._dropped_count = 0
        self._behind_count = 0
        self.token_count = 0
        """Of what was thought, the marks around it included."""

    def read(self, delta: Delta) -> list[Told]:
        """Take text as it comes, and tell what is known to be a thought or text by now."""
        if self._place is _Place.ANSWER:
            return [delta]
        self._held.put(delta)
        told: list[Told] = []
        before = None
        while before is not self._place:
            before = self._place
            told += self._step()
        return told

    def finish(self) -> list[Told]:
        """Tell what is still held, after the last text."""
        rest = self._held.take_all()
        if self._place is _Place.THOUGHT:
            return self._thought(rest, rest.text.rstrip())
        if self._place is _Place.BEHIND or not (rest.text or rest.token_count or rest.logprobs):
            return []
        return [rest]

    def _step(self) -> list[Told]:
        match self._place:
            case _Place.FRONT:
                return self._front()
            case _Place.THOUGHT:
                return self._inside()
            case _Place.BEHIND:
                self._behind_count += self._take_white_space()
                if self._held.text:
                    self._place = _Place.ANSWER
                return []
            case _Place.ANSWER:
                return self._answer()

    def _answer(self) -> list[Told]:
        if not self._held.text:
            return []
        rest = self._held.take_all()
        return [replace(rest, token_count=rest.token_count + self._behind_count)]

    def _front(self) -> list[Told]:
        text = self._held.text.lstrip()
        if text.startswith(_BEGIN):
            self._drop(len(self._held.text) - len(text) + len(_BEGIN))
            self._place = _Place.THOUGHT
        elif not _BEGIN.startswith(text):
            self._place = _Place.ANSWER
        return []

    def _inside(self) -> list[Told]:
        if not self._has_thought:
            self._drop(len(self._held.text) - len(self._held.text.lstrip()))
        inside, marker, _ = self._held.text.partition(_END)
        if marker:
            told = self._held.take(len(inside))
            said = self._thought(told, told.text.rstrip())
            self._drop(len(marker))
            self._place = _Place.BEHIND
            return said
        known = inside[: len(inside) - partial_end(inside, _END)].rstrip()
        return self._thought(self._held.take(len(known)), known)

    def _thought(self, taken: Delta, text: str) -> list[Told]:
        self.token_count += taken.token_count
        if not text:
            self._dropped_count += taken.token_count
            return []
        self._has_thought = True
        count, self._dropped_count = taken.token_count + self._dropped_count, 0
        return [ReasoningDelta(text, count)]

    def _take_white_space(self) -> int:
        """Give the tokens of the white space in front, which one that is cut apart counts as."""
        return self._held.take(len(self._held.text) - len(self._held.text.lstrip())).token_count

    def _drop(self, count: int) -> None:
        """Take text that nobody is told; its tokens count with the thought."""
        dropped = self._held.take(count).token_count
        self._dropped_count += dropped
        self.token_count += dropped
