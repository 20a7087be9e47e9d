"""What the bodies of Ollama's requests have in common; a null is a field that is not there."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from weft_worker.dialects.images import MAX_IMAGE_COUNT, UnusableImage, image_of_base64
from weft_worker.dialects.invalid import invalid_request
from weft_worker.dialects.keep_alive import KeepAlive
from weft_worker.dialects.tools import compact
from weft_worker.engines.base import Effort, Image, JsonForm, Sampling, Thinking

MAX_STOP_COUNT = 128  # Ollama has no limit, and editors send dozens
_DATA_URL = "data:"


class Body(BaseModel):
    """Strict: a number in a string is an error, as with Ollama. Fields that nobody knows are left alone."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


Parsed = TypeVar("Parsed", bound=Body)


def parse(kind: type[Parsed], body: bytes) -> Parsed:
    """Read a body; raises InvalidRequest that names the fields."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from error


def _whole(value: object) -> object:
    """JSON has one kind of numbers, and Ollama cuts off what is behind the point."""
    return int(value) if isinstance(value, float) and isfinite(value) else value


def _stops(value: object) -> object:
    """Make a list of one string; an empty one could stop nothing."""
    if isinstance(value, str):
        value = [value]
    return [text for text in value if text != ""] if isinstance(value, list) else value


def _no_text(value: object) -> object:
    return None if value == "" else value


def _known_format(value: object) -> object:
    if value is None or value == "json" or isinstance(value, Mapping):
        return value
    raise PydanticCustomError("format", 'Should be "json" or a JSON schema, an object')


def _known_think(value: object) -> object:
    if isinstance(value, bool) or value in ("low", "medium", "high"):
        return value
    raise PydanticCustomError("think", 'Should be true, false, "low", "medium" or "high"')


def _picture(value: object) -> object:
    """Read base64, with or without the head of a data URL; what it holds is looked at, not decoded."""
    if not isinstance(value, str):
        raise PydanticCustomError("image", "Should be a string of base64")
    if value.startswith(_DATA_URL):
        value = value.partition(",")[2]
    try:
        return image_of_base64(value)
    except UnusableImage as error:
        raise PydanticCustomError("image", "{problem}", {"problem": str(error)}) from None


Whole = Annotated[int, BeforeValidator(_whole)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Format = Annotated[str | dict[str, object] | None, BeforeValidator(_known_format), BeforeValidator(_no_text)]
"""`json`, or a schema."""
Think = Annotated[bool | Literal["low", "medium", "high"], BeforeValidator(_known_think)]
Images = Annotated[list[Annotated[Image, BeforeValidator(_picture)]], Field(max_length=MAX_IMAGE_COUNT)]
Stops = Annotated[Annotated[list[str], Field(max_length=MAX_STOP_COUNT)] | None, BeforeValidator(_stops)]


def form_of(asked: str | Mapping[str, object] | None) -> JsonForm | None:
    """The form of the answer in the words of engines."""
    if asked is None:
        return None
    return JsonForm(compact({"type": "object"} if isinstance(asked, str) else asked))


def shown(images: Sequence[Image] | None, words: str) -> tuple[str | Image, ...]:
    """The parts of a message with images, which come before its words; none where there are none to see."""
    return (*images, words) if images else ()


class Options(Body):
    """How to choose tokens.

    Options that a model is loaded with (`num_ctx`, `num_gpu`, ...) are the model file's to say, and are left alone, as
    are those that no engine here knows (`mirostat`, `typical_p`, ...).
    """

    num_predict: Whole | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_k: Annotated[Whole, Field(ge=-(2**31), lt=2**31)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stops = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None

    @property
    def max_tokens(self) -> int | None:
        """How many tokens an answer may have; 0 and below let it go on until it ends by itself."""
        limit = self.num_predict or 0
        return min(limit, 2**31 - 1) if limit > 0 else None


class Asking(Body):
    """What a conversation and a prompt have in common."""

    model: Annotated[str, Field(min_length=1)]
    stream: bool | None = None
    format: Format = None
    options: Options | None = None
    keep_alive: KeepAlive = None
    think: Think | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether each token is to be told as it comes: unless the request says otherwise."""
        return self.stream is not False

    @property
    def thinking(self) -> Thinking | None:
        """Whether the model is to think, in the words of engines; None leaves it to the model."""
        if isinstance(self.think, str):
            return Thinking(effort=Effort(self.think))
        return None if self.think is None else Thinking(self.think)

    @property
    def sampling(self) -> Sampling:
        """How to choose tokens, in the words of engines."""
        options = self.options or Options()
        return Sampling(
            temperature=options.temperature,
            top_p=options.top_p,
            # Ollama's default, -1, is one at random.
            seed=None if options.seed == -1 else options.seed,
            max_tokens=options.max_tokens,
            stop=tuple(options.stop or ()),
            frequency_penalty=options.frequency_penalty,
            presence_penalty=options.presence_penalty,
            top_k=None if options.top_k is None else max(0, options.top_k),
            min_p=options.min_p,
            repetition_penalty=options.repeat_penalty,
            top_logprobs=self.top_logprobs or 0 if self.logprobs else None,
        )
