"""Texts as OpenAI takes them: one or several, each as a string or as its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic_core import PydanticCustomError

from weft_common.errors import InvalidRequest
from weft_worker.dialects.invalid import FIELD
from weft_worker.dialects.texts import MAX_INPUT_COUNT, is_too_large, too_large
from weft_worker.engines.abilities import Input, InputTooLong

_MAX_TOKEN = 2**31
_KINDS = "Should be a string, a list of strings, a list of tokens or a list of lists of tokens"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Texts; `is_list` says whether they were a list, so that errors can name one of them."""

    texts: tuple[Input, ...]
    is_list: bool

    def name(self, field: str, index: int) -> str:
        """What the caller calls one of them."""
        return f"{field}.{index}" if self.is_list else field

    def renamed(self, error: InvalidRequest | InputTooLong, field: str) -> InvalidRequest | InputTooLong:
        """What an engine says of `inputs.N`, in the caller's words."""
        if isinstance(error, InputTooLong):
            return error.named(self.name(field, error.index))
        if not error.violations or not error.violations[0].field.startswith("inputs."):
            return error
        index = int(error.violations[0].field.removeprefix("inputs."))
        told = replace(error.violations[0], field=self.name(field, index))
        return InvalidRequest(f"{told.field}: {told.description}.", violations=[told])


def read_prompts(value: object) -> Inputs:
    """Read the same where a text may be empty, which begins a new document, as does none."""
    return _read("" if value is None else value, least=0)


def read_inputs(value: object) -> Inputs:
    """Read any of the four forms, none empty; raises PydanticCustomError that says which one is wrong."""
    return _read(value, least=1)


def _read(value: object, *, least: int) -> Inputs:
    if isinstance(value, str):
        return Inputs((_text(value, None, least),), is_list=False)
    if not isinstance(value, list):
        raise _wrong(_KINDS)
    if not value:
        raise _wrong("Should not be empty")
    if type(value[0]) is int:
        return Inputs((_tokens(value, None),), is_list=False)
    if len(value) > MAX_INPUT_COUNT:
        raise _wrong(f"Should be 1 to {MAX_INPUT_COUNT:,}")
    if isinstance(value[0], str):
        return Inputs(tuple(_text(text, index, least) for index, text in enumerate(value)), is_list=True)
    return Inputs(tuple(_tokens(tokens, index) for index, tokens in enumerate(value)), is_list=True)


def _text(text: object, index: int | None, least: int) -> str:
    if not isinstance(text, str):
        raise _wrong(_KINDS, index)
    _check_size(text, index, least)
    return text


def _tokens(tokens: object, index: int | None) -> tuple[int, ...]:
    if not isinstance(tokens, list):
        raise _wrong(_KINDS, index)
    _check_size(tokens, index, 1)
    # A boolean is a number to Python, and none to JSON.
    if not all(type(token) is int and 0 <= token < _MAX_TOKEN for token in tokens):
        raise _wrong("Tokens are numbers from 0", index)
    return tuple(tokens)


def _check_size(text: Sequence[object], index: int | None, least: int) -> None:
    if len(text) < least:
        raise _wrong("Should not be empty", index)
    if is_too_large(text):
        raise _wrong(too_large(), index)


def _wrong(words: str, index: int | None = None) -> PydanticCustomError:
    place = {} if index is None else {FIELD: str(index)}
    return PydanticCustomError("inputs", "{words}", {"words": words, **place})
