"""Ollama's answers to embeddings, byte for byte."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from weft_worker.dialects.ollama.answers import Timing, nanoseconds


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of texts: one vector for each, and the tokens of all."""

    vectors: Sequence["array[float]"]
    token_count: int


def embed_object(model: str, embedded: Embedded, timing: Timing) -> bytes:
    """Encode the answer of /api/embed."""
    return orjson.dumps(
        {
            "model": model,
            "embeddings": [vector.tolist() for vector in embedded.vectors],
            "total_duration": nanoseconds(timing.total),
            "load_duration": nanoseconds(timing.loading),
            "prompt_eval_count": embedded.token_count,
        }
    )


def embeddings_object(vector: "array[float] | None") -> bytes:
    """Encode the answer of /api/embeddings; none where there was no prompt."""
    return orjson.dumps({"embedding": [] if vector is None else vector.tolist()})
