"""What the bodies of OpenAI's endpoints share: strict about what is known, silent about fields that are not."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from weft_worker.dialects.invalid import FIELD

MAX_ANSWER_COUNT = 128  # as OpenAI allows; each takes a slot
MAX_STOP_COUNT = 16  # OpenAI allows 4; local models are asked for more


class Body(BaseModel):
    """Strict: a number in a string is an error, as with OpenAI. Fields that nobody knows are left alone."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def wrong(field: str, words: str) -> PydanticCustomError:
    """What a validator of a whole object raises of one of its fields."""
    return PydanticCustomError("wrong_value", "{words}", {FIELD: field, "words": words})


def unsupported(words: str) -> PydanticCustomError:
    """What a validator of one field raises where its value asks for what is not there."""
    return PydanticCustomError("not_supported", "{words}", {"words": words})


def _nothing_asked(value: object) -> object:
    """Refuse what would change the answer and is not there; empty values ask for nothing."""
    if value:
        raise unsupported("This is not supported")
    return value


def _stop_list(stop: object) -> object:
    """Make one form of the three that OpenAI takes; an empty string could stop nothing."""
    if isinstance(stop, str):
        stop = [stop]
    return [text for text in stop if text != ""] if isinstance(stop, list) else stop


def _token_numbers(biases: object) -> object:
    """JSON has text for keys: make numbers of those that are."""
    if not isinstance(biases, Mapping):
        return biases
    return {int(key) if key.isascii() and key.isdigit() else key: bias for key, bias in biases.items()}


ModelName = Annotated[str, Field(min_length=1)]
Unsupported = Annotated[object, AfterValidator(_nothing_asked)]
TokenLimit = Annotated[int, Field(ge=1, le=2**31 - 1)]
AnswerCount = Annotated[int, Field(ge=1, le=MAX_ANSWER_COUNT)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Field(gt=0, le=10)]
LogitBias = Annotated[
    Annotated[
        dict[Annotated[int, Field(ge=0, lt=2**31)], Annotated[float, Field(ge=-100, le=100)]],
        Field(max_length=300),
    ]
    | None,
    BeforeValidator(_token_numbers),
]
Stop = Annotated[Annotated[list[str], Field(max_length=MAX_STOP_COUNT)] | None, BeforeValidator(_stop_list)]
