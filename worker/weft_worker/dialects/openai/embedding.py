"""POST /v1/embeddings: the body that asks for vectors, and the list that answers."""

import sys
from array import array
from base64 import b64encode
from collections.abc import Iterable
from typing import Annotated, Literal

import orjson
from pydantic import Field, PlainValidator

from weft_worker.dialects.invalid import parse_body
from weft_worker.dialects.keep_alive import KeepAlive
from weft_worker.dialects.openai.fields import Body, ModelName
from weft_worker.dialects.openai.inputs import Inputs, read_inputs


class EmbeddingRequest(Body):
    """A request for embeddings; an extension is `keep_alive`."""

    model: ModelName
    input: Annotated[Inputs, PlainValidator(read_inputs)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    user: str | None = None
    keep_alive: KeepAlive = None


def parse_embedding_request(body: bytes) -> EmbeddingRequest:
    """Read a body; raises InvalidRequest that names the fields."""
    return parse_body(EmbeddingRequest, body)


def embedding_list(request: EmbeddingRequest, vectors: Iterable["array[float]"], token_count: int) -> bytes:
    """Encode the answer; base64 is of single-precision numbers, little end first."""
    write = _base64 if request.encoding_format == "base64" else _numbers
    embeddings = [
        {"object": "embedding", "index": index, "embedding": write(vector)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": token_count, "total_tokens": token_count}
    return orjson.dumps({"object": "list", "data": embeddings, "model": request.model, "usage": usage})


def _numbers(vector: "array[float]") -> list[float]:
    return vector.tolist()


def _base64(vector: "array[float]") -> str:
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return b64encode(vector.tobytes()).decode()
