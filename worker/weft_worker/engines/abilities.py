"""What an engine may do besides writing text: protocols that it has or has not, each with its values.

An engine that has one may still hold a model for something else; `EngineModel.purpose` says what for, and callers ask
for nothing else. Counting tokens is for models of every purpose.
"""

from array import array
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from math import hypot, inf
from typing import Protocol, runtime_checkable

from weft_common.errors import ContextLengthExceeded, EngineFailed, FieldViolation, InvalidRequest
from weft_worker.engines.base import Completion, Event, Message, Thinking, Tool

# Single precision knows no more digits.
_EXACT_ENOUGH = 1e-6

Input = str | tuple[int, ...]
"""A text that is not empty, or its tokens, at least one, which are taken as they are."""


class InputTooLong(ContextLengthExceeded):
    """One of several inputs does not fit the context; whoever knows what the caller calls it raises `named`."""

    def __init__(
        self, index: int, token_count: int, context_size: int, field: str = "", *, is_more: bool = False
    ) -> None:
        """With `is_more` there are more tokens than were counted."""
        text = (
            f"This model's maximum context length is {context_size} tokens. However, {field or f'inputs.{index}'} "
            f"resulted in {'more than ' * is_more}{token_count} tokens. Please reduce its length."
        )
        super().__init__(text, violations=[FieldViolation(field or f"inputs.{index}", text)])
        self.index, self.token_count, self.context_size = index, token_count, context_size
        self._is_more = is_more

    def named(self, field: str) -> "InputTooLong":
        """The same by the caller's name for the input."""
        return InputTooLong(self.index, self.token_count, self.context_size, field, is_more=self._is_more)


def unit(values: "array[float]") -> "array[float]":
    """Give the direction of a vector; raises EngineFailed where it has none."""
    length = hypot(*values)
    if not 0 < length < inf:
        raise EngineFailed("The model gave a vector without a direction.")
    return values if abs(length - 1) < _EXACT_ENOUGH else array("f", (value / length for value in values))


def unknown_token(index: int, token: int, vocabulary_size: int) -> InvalidRequest:
    """The refusal of a token that is not in the vocabulary."""
    text = f"Token {token} is not in the model's vocabulary, which has {vocabulary_size}"
    return InvalidRequest(f"inputs.{index}: {text}.", violations=[FieldViolation(f"inputs.{index}", text)])


@dataclass(frozen=True, slots=True)
class Vector:
    """What became of one input: single-precision numbers (typecode `f`) of unit length, which nobody changes."""

    values: "array[float]"
    token_count: int
    """Tokens of the input as the model read it, its own beginning and end included."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well one document answers the query, 0 to 1, and the tokens that were read of both together."""

    score: float
    token_count: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the chat template makes a prompt of."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    thinking: Thinking | None = None
    """As of Generation: templates may open an answer without a thought in other words."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a text by their numbers, and the bytes of each where they were asked for."""

    ids: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()


@runtime_checkable
class Completer(Protocol):
    """Goes on with texts as they are; asked of models for chat only."""

    def complete(self, completion: Completion) -> AsyncGenerator[Event, None]:
        """Yield deltas of text, then one Finished; else as `Engine.generate`.

        Raises InvalidRequest also for tokens that are not in the vocabulary, and, naming the field, for a `suffix` or
        for probabilities of an `echo` where it has no way to them.
        """
        ...


@runtime_checkable
class Foreseer(Protocol):
    """Knows of texts whether they fit, before it goes on with any."""

    async def require_fit(self, completion: Completion) -> None:
        """Raise what `Completer.complete` would raise for the length of its prompt; takes no slot."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Makes vectors; asked of models for embeddings only."""

    def vector_size(self) -> int:
        """How many numbers a vector of the loaded model has; 0 where that is not known yet."""
        ...

    def embed(self, inputs: Sequence[Input]) -> AsyncGenerator[Vector, None]:
        """Yield one vector for each input, in their order; the whole is one of the `slot_count` pieces of work.

        A vector is the same, but for 1e-5 in each number, whatever else is in the batch or in other slots.
        Cancelling or closing the generator ends the work, and returns when the slot is free again. Raises, before
        the first vector, InvalidRequest for tokens that are not in the vocabulary and InputTooLong for an input that
        does not fit; EngineFailed at any time.
        """
        ...


@runtime_checkable
class Reranker(Protocol):
    """Reads a query and a document together; asked of models for reranking only.

    Models for embeddings are not asked: whoever asks compares vectors himself.
    """

    def rerank(self, query: str, documents: Sequence[str]) -> AsyncGenerator[Score, None]:
        """Yield one score for each document, in their order; else as `Embedder.embed`.

        Of InputTooLong the index is the document's.
        """
        ...


@runtime_checkable
class Seer(Protocol):
    """May look at images in messages."""

    def sees_images(self) -> bool:
        """Whether the loaded model does."""
        ...


@runtime_checkable
class Thinker(Protocol):
    """May think before it answers."""

    def thinks(self) -> bool:
        """Whether the loaded model does, or can be had to."""
        ...


@runtime_checkable
class Counter(Protocol):
    """Makes tokens of texts."""

    async def tokenize(self, text: str | Conversation, *, with_pieces: bool = False) -> Tokens:
        """Make tokens of a text as it is, or of a conversation as the chat template writes it for an answer to follow.

        Raises InvalidRequest where the template does not take the conversation, or the model has none.
        """
        ...
