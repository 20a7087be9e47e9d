"""POST /v2/rerank: the body that asks, and the object that answers."""

from collections.abc import Sequence
from math import ceil
from typing import Annotated

import orjson
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from weft_worker.dialects.invalid import parse_body
from weft_worker.dialects.ranking import best_first
from weft_worker.dialects.rerank_body import RerankBody
from weft_worker.engines.abilities import Score

# What Cohere counts as one search.
_DOCUMENTS_OF_A_SEARCH = 100


def _not_enabled(spans: dict[str, object] | None) -> dict[str, object] | None:
    if spans and spans.get("mode") != "disabled":
        raise PydanticCustomError("not_supported", "This is not supported")
    return spans


class CohereRerankRequest(RerankBody):
    """A request to rerank; documents are read whole, whatever `max_tokens_per_doc` says, and refused if too long."""

    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = None
    relevant_spans: Annotated[dict[str, object] | None, AfterValidator(_not_enabled)] = None
    priority: int | None = None


def parse_cohere_request(body: bytes) -> CohereRerankRequest:
    """Read a body; raises InvalidRequest that names the fields."""
    return parse_body(CohereRerankRequest, body)


def cohere_response(request: CohereRerankRequest, request_id: str, scores: Sequence[Score]) -> bytes:
    """Encode the answer, the best document first."""
    results = [
        {"index": index, "relevance_score": score} for index, score in best_first(scores, request.top_n)
    ]
    meta = {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": ceil(len(scores) / _DOCUMENTS_OF_A_SEARCH)},
        "tokens": {"input_tokens": sum(score.token_count for score in scores)},
    }
    return orjson.dumps({"id": request_id, "results": results, "meta": meta})
