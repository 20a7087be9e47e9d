"""What the bodies of all that rerank share."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.invalid import FIELD
from weft_worker.dialects.keep_alive import KeepAlive
from weft_worker.dialects.texts import MAX_INPUT_COUNT, is_too_large, too_large


def _text(value: object, index: int | None = None) -> str:
    """Read a string, or an object with one as `text`."""
    text = value.get("text") if isinstance(value, Mapping) else value
    if not isinstance(text, str):
        raise _wrong("Should be a string, or an object with a string 'text'", index)
    if not text:
        raise _wrong("Should not be empty", index)
    if is_too_large(text):
        raise _wrong(too_large(), index)
    return text


def _documents(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _wrong("Should be a list of strings")
    if not 1 <= len(value) <= MAX_INPUT_COUNT:
        raise _wrong(f"Should be 1 to {MAX_INPUT_COUNT:,}")
    return tuple(_text(document, index) for index, document in enumerate(value))


def _wrong(words: str, index: int | None = None) -> PydanticCustomError:
    place = {} if index is None else {FIELD: str(index)}
    return PydanticCustomError("documents", "{words}", {"words": words, **place})


class RerankBody(BaseModel):
    """A query and its documents; an extension is `keep_alive`."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    model: Annotated[str, Field(min_length=1)]
    query: Annotated[str, PlainValidator(_text)]
    documents: Annotated[tuple[str, ...], PlainValidator(_documents)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    keep_alive: KeepAlive = None
