"""Cohere's rerank body and its answer."""

from typing import Any

import orjson
import pytest

from weft_common.errors import InvalidRequest
from weft_worker.dialects.cohere.rerank import CohereRerankRequest, cohere_response, parse_cohere_request
from weft_worker.engines.abilities import Score

SCORES = [Score(0.25, 3), Score(0.75, 4)]


def _parse(**fields: Any) -> CohereRerankRequest:
    return parse_cohere_request(orjson.dumps({"model": "m", "query": "q", "documents": ["a", "b"], **fields}))


def test_the_best_come_first() -> None:
    assert orjson.loads(cohere_response(_parse(), "id-1", SCORES)) == {
        "id": "id-1",
        "results": [{"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.25}],
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 7},
        },
    }
    assert len(orjson.loads(cohere_response(_parse(top_n=1), "id-1", SCORES))["results"]) == 1


def test_what_changes_nothing_is_taken() -> None:
    request = _parse(max_tokens_per_doc=512, priority=3, relevant_spans={"mode": "disabled"})
    assert request.documents == ("a", "b")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"documents": ["a", ""]}, "documents.1"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"relevant_spans": {"mode": "enabled"}}, "relevant_spans"),
        ({"priority": "high"}, "priority"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    assert caught.value.violations[0].field == field
