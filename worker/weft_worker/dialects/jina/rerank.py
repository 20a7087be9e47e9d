"""POST /v1/rerank: the body that asks, and the list that answers."""

from collections.abc import Sequence

import orjson

from weft_worker.dialects.invalid import parse_body
from weft_worker.dialects.ranking import best_first
from weft_worker.dialects.rerank_body import RerankBody
from weft_worker.engines.abilities import Score


class JinaRerankRequest(RerankBody):
    """A request to rerank; documents come back with their scores unless `return_documents` is false."""

    return_documents: bool | None = None


def parse_jina_request(body: bytes) -> JinaRerankRequest:
    """Read a body; raises InvalidRequest that names the fields."""
    return parse_body(JinaRerankRequest, body)


def jina_response(request: JinaRerankRequest, scores: Sequence[Score]) -> bytes:
    """Encode the answer, the best document first."""
    token_count = sum(score.token_count for score in scores)
    results = [
        {"index": index, "relevance_score": score, **_document(request, index)}
        for index, score in best_first(scores, request.top_n)
    ]
    return orjson.dumps(
        {
            "model": request.model,
            "object": "list",
            "usage": {"total_tokens": token_count, "prompt_tokens": token_count},
            "results": results,
        }
    )


def _document(request: JinaRerankRequest, index: int) -> dict[str, object]:
    if request.return_documents is False:
        return {}
    return {"document": {"text": request.documents[index]}}
