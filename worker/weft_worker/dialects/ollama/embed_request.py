"""The bodies of POST /api/embed and of its older form, POST /api/embeddings."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from weft_worker.dialects.keep_alive import KeepAlive
from weft_worker.dialects.ollama.fields import Body, Options, Whole, parse
from weft_worker.dialects.texts import MAX_INPUT_COUNT, is_too_large, too_large

_WRONG = f"Should be a string, or a list of at most {MAX_INPUT_COUNT:,} strings that are not empty"


def parse_embed_request(body: bytes) -> "EmbedRequest":
    """Read the body of /api/embed; raises InvalidRequest that names the fields."""
    return parse(EmbedRequest, body)


def parse_embeddings_request(body: bytes) -> "EmbeddingsRequest":
    """Read the body of /api/embeddings; raises as the other."""
    return parse(EmbeddingsRequest, body)


def _texts(value: object) -> object:
    """Make a list of one text; none, or an empty one, only loads the model."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and "" not in value and len(value) <= MAX_INPUT_COUNT:
        return value
    raise PydanticCustomError("input", "{words}", {"words": _WRONG})


def _bounded(text: str) -> str:
    if is_too_large(text):
        raise PydanticCustomError("too_large", "{words}", {"words": too_large()})
    return text


Text = Annotated[str, AfterValidator(_bounded)]


class EmbedRequest(Body):
    """Texts to make vectors of."""

    model: Annotated[str, Field(min_length=1)]
    input: Annotated[list[Text], BeforeValidator(_texts), Field(default_factory=list)]
    truncate: bool | None = None
    dimensions: Whole | None = None
    options: Options | None = None
    keep_alive: KeepAlive = None

    @property
    def wished_dimensions(self) -> int | None:
        """How many numbers a vector shall have; 0 is all, as with Ollama."""
        return self.dimensions or None

    @property
    def may_truncate(self) -> bool:
        """Whether what is too long is cut rather than refused."""
        return self.truncate is not False


class EmbeddingsRequest(Body):
    """One text to make a vector of."""

    model: Annotated[str, Field(min_length=1)]
    prompt: Text | None = None
    options: Options | None = None
    keep_alive: KeepAlive = None
