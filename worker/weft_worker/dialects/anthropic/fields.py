"""What the bodies of Anthropic's endpoints share: strict about what is known, silent about fields that are not."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from weft_worker.dialects.invalid import FIELD, invalid_request

MAX_STOP_COUNT = 128  # Anthropic documents no limit
NO_THREADS = "thread_unsupported_request"
"""Anthropic's own code: its tool runners read it, and go on with the whole conversation in each request."""


class Body(BaseModel):
    """Strict: a number in a string is an error. Fields that nobody knows are left alone, so that betas do no harm."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


B = TypeVar("B", bound=BaseModel)


def parse(kind: type[B], body: bytes) -> B:
    """Read a body; raises InvalidRequest that names the fields."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        refused = invalid_request(error)
        if error.errors(include_url=False, include_input=False)[0]["type"] == NO_THREADS:
            refused.metadata["error_code"] = NO_THREADS
        raise refused from error


def wrong(field: str, words: str) -> PydanticCustomError:
    """What a validator of a whole object raises of one of its fields; empty where it is about the object."""
    context = {"words": words, **({FIELD: field} if field else {})}
    return PydanticCustomError("wrong_value", "{words}", context)


def _nothing_asked(value: object) -> object:
    """Refuse what would change the answer and is not there; empty values ask for nothing."""
    if value:
        raise PydanticCustomError("not_supported", "This is not supported")
    return value


Unsupported = Annotated[object, AfterValidator(_nothing_asked)]
ModelName = Annotated[str, Field(min_length=1)]
Stop = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_STOP_COUNT)]
