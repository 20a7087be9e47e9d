"""llama.cpp's vectors and scores: one input at a time, so that no input's last digits depend on its neighbours."""

import re
import unicodedata
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp
from typing import Any

import orjson

from weft_common.errors import EngineFailed, InvalidRequest
from weft_worker.engines.abilities import Input, InputTooLong, Score, Tokens, Vector, unit, unknown_token
from weft_worker.engines.base import TokenLogprob
from weft_worker.engines.beginnings import refuse_far_too_long
from weft_worker.engines.limits import unknown_prompt_token
from weft_worker.engines.llamacpp.door import Door
from weft_worker.engines.llamacpp.echoes import forced_chance
from weft_worker.engines.llamacpp.facts import Facts
from weft_worker.engines.llamacpp.gaps import gap_prompt

_HANGUL = re.compile("[\uac00-\ud7a3]")
# What a template or a tokenizer puts around a text at most, roughly; an input near the limit is looked at closely.
_ROOM_TOKENS = 16
# Between a query and a document, and around both.
_PAIR_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Reader:
    """A model that reads whole inputs; every method blocks, and belongs into a thread."""

    server: Any
    door: Door
    context_size: int
    facts: Facts

    def check(self, index: int, given: Input) -> None:
        """Raise InputTooLong where an input does not fit, and InvalidRequest where it has tokens that are none."""
        if not isinstance(given, str) and max(given) >= self.facts.vocabulary_size:
            raise unknown_token(index, max(given), self.facts.vocabulary_size)
        if isinstance(given, str):
            refuse_far_too_long(index, given, self.context_size, self._count)
        if (count := self._token_count(given, _ROOM_TOKENS)) > self.context_size:
            raise InputTooLong(index, count, self.context_size)

    def check_pair(self, index: int, query: str, document: str) -> None:
        """The same for a query and a document that are read together."""
        for text in (query, document):
            refuse_far_too_long(index, text, self.context_size, self._count)
        count = self._token_count(query, _ROOM_TOKENS) + self._token_count(document, _ROOM_TOKENS)
        if count > self.context_size:
            count = _PAIR_TOKENS + self._count(query) + self._count(document)
        if count > self.context_size:
            raise InputTooLong(index, count, self.context_size)

    def vector(self, index: int, given: Input) -> Vector:
        """Compute one."""
        asked = self._spelt(given) if isinstance(given, str) else [list(given)]
        told = self._ask(self.server.handle_embeddings, {"input": asked}, index)
        values = array("f", told["data"][0]["embedding"])
        return Vector(unit(values), told["usage"]["prompt_tokens"])

    def score(self, index: int, query: str, document: str) -> Score:
        """Compute one."""
        asked = {"query": self._spelt(query), "documents": [self._spelt(document)]}
        told = self._ask(self.server.handle_rerank, asked, index)
        score = told["results"][0]["relevance_score"]
        chance = score if self.facts.scores_are_chances else 1 / (1 + exp(-max(-500.0, score)))
        return Score(chance, told["usage"]["prompt_tokens"])

    def tokens(self, text: str, with_pieces: bool) -> Tokens:  # called by position, through a thread
        """Make tokens of a text."""
        return self.door.tokens(self._spelt(text), whole=False, with_pieces=with_pieces)

    def text(self, tokens: Sequence[int]) -> str:
        """Make text of tokens; raises InvalidRequest where one is none."""
        try:
            return self.door.text(tokens)
        except InvalidRequest as error:
            raise unknown_prompt_token(max(tokens)) from error

    def pieces(self, prompt: Input) -> Tokens:
        """The tokens of a prompt with the model's own beginning; of tokens as they are only the first one's bytes."""
        if isinstance(prompt, str):
            return self.door.tokens(prompt, whole=True, with_pieces=True)
        return Tokens(prompt, (self.text(prompt[:1]).encode(),))

    def letter(self) -> int:
        """A token that is a whole character."""
        return self.door.tokens("a", whole=False).ids[-1]

    def forced_chance(self, before: tuple[int, ...], token: int, top: int, letter: int) -> TokenLogprob:
        """How likely a token was behind others."""
        return forced_chance(self.server, before, token, top, letter)

    def gap_prompt(self, before: Input, after: str) -> tuple[int, ...] | None:
        """The tokens of a prompt with a gap; None where the model knows of none."""
        return gap_prompt(self.door, before, after)

    def prompt_count(self, prompt: Input) -> int:
        """Count the tokens of a text with the model's own beginning, or tokens as they are."""
        return len(self.door.tokens(prompt, whole=True).ids) if isinstance(prompt, str) else len(prompt)

    def conversation_tokens(
        self,
        conversation: Mapping[str, object],
        with_pieces: bool,  # the same
    ) -> Tokens:
        """Make tokens of what the chat template makes of a conversation."""
        return self.door.tokens(self.door.prompt(conversation), whole=True, with_pieces=with_pieces)

    def _token_count(self, given: Input, room: int) -> int:
        """How many tokens an input has, or, where that shows that it fits, how many at most."""
        if not isinstance(given, str):
            return len(given)
        at_most = len(given.encode()) + room
        return at_most if at_most <= self.context_size else len(self._ids(given, whole=True))

    def _count(self, text: str) -> int:
        return len(self._ids(text, whole=False))

    def _ids(self, text: str, *, whole: bool) -> tuple[int, ...]:
        return self.door.tokens(self._spelt(text), whole=whole).ids

    def _spelt(self, text: str) -> str:
        """For BERT's tokenizer the library takes letters apart from their accents, but not the syllables of Hangul."""
        if self.facts.tokenizer != "bert" or _HANGUL.search(text) is None:
            return text
        return text.translate(_taken_apart())

    def _ask(self, call: Callable[[str], str], body: object, index: int) -> Any:
        try:
            answer = orjson.loads(call(orjson.dumps(body).decode()))
        except ValueError as error:
            raise InvalidRequest(f"llama.cpp cannot use the request: {error}") from error
        if "error" in answer:
            raise _failure(answer["error"], index, self.context_size)
        return answer


@cache
def _taken_apart() -> dict[int, str]:
    """Each syllable by itself: to normalise a long text of many marks in the wrong order would take for ever."""
    return {number: unicodedata.normalize("NFD", chr(number)) for number in range(0xAC00, 0xD7A4)}


def _failure(error: Any, index: int, context_size: int) -> InvalidRequest | EngineFailed | InputTooLong:
    message = str(error.get("message", error))
    # A pair that its own template makes longer than could be foreseen.
    if "too large to process" in message or error.get("type") == "exceed_context_size_error":
        return InputTooLong(index, context_size + 1, context_size)
    if error.get("code") == 400:
        return InvalidRequest(f"llama.cpp cannot use the request: {message}")
    return EngineFailed(f"llama.cpp failed: {message}")
