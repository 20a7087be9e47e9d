"""Jina's rerank body and its answer."""

from typing import Any

import orjson
import pytest

from weft_common.errors import InvalidRequest
from weft_worker.dialects.jina.rerank import JinaRerankRequest, jina_response, parse_jina_request
from weft_worker.engines.abilities import Score

SCORES = [Score(0.25, 3), Score(0.75, 4), Score(0.25, 5)]


def _parse(**fields: Any) -> JinaRerankRequest:
    body = {"model": "m", "query": "q", "documents": ["a", {"text": "b"}, "c"], **fields}
    return parse_jina_request(orjson.dumps(body))


def test_documents_are_strings_or_objects_with_a_text() -> None:
    request = _parse(query={"text": "why"}, top_n=2)
    assert (request.query, request.documents, request.top_n) == ("why", ("a", "b", "c"), 2)


def test_the_best_come_first_with_their_documents() -> None:
    assert orjson.loads(jina_response(_parse(), SCORES)) == {
        "model": "m",
        "object": "list",
        "usage": {"total_tokens": 12, "prompt_tokens": 12},
        "results": [
            {"index": 1, "relevance_score": 0.75, "document": {"text": "b"}},
            {"index": 0, "relevance_score": 0.25, "document": {"text": "a"}},
            {"index": 2, "relevance_score": 0.25, "document": {"text": "c"}},
        ],
    }


def test_as_many_are_told_as_asked_for_and_documents_only_where_wished() -> None:
    request = _parse(top_n=1, return_documents=False)
    assert orjson.loads(jina_response(request, SCORES))["results"] == [{"index": 1, "relevance_score": 0.75}]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": None}, "model"),
        ({"query": ""}, "query"),
        ({"query": 5}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["x"] * 2049}, "documents"),
        ({"documents": ["a", ""]}, "documents.1"),
        ({"documents": ["a", {"image": "b"}]}, "documents.1"),
        ({"documents": ["a", "x" * (4 << 20) + "x"]}, "documents.1"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "1"}, "top_n"),
        ({"return_documents": "no"}, "return_documents"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    assert caught.value.violations[0].field == field
