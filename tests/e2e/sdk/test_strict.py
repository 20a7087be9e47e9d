"""The judge of shapes is judged: it has to find what the libraries would forgive."""

from typing import Annotated, Any, Literal

import pytest
from anthropic.types import RawMessageStreamEvent
from ollama import ListResponse
from openai.types import CreateEmbeddingResponse
from pydantic import BaseModel, Field

from tests.e2e.sdk.strict import Shape


class Text(BaseModel):
    type: Literal["text"]
    text: str


class Call(BaseModel):
    type: Literal["call"]
    input: dict[str, object]
    note: str | None = None


class Answer(BaseModel):
    id: str
    seconds: float
    blocks: list[Annotated[Text | Call, Field(discriminator="type")]]
    info: dict[str, int] | None = Field(default=None, alias="model_info")


GOOD: dict[str, Any] = {
    "id": "a",
    "seconds": 1,
    "blocks": [{"type": "text", "text": "x"}, {"type": "call", "input": {"a": 1}, "note": None}],
    "model_info": {"a": 1},
}


def test_what_is_right_has_no_problems() -> None:
    Shape(Answer).check(GOOD)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": 1}, "id: not str: 1"),
        ({"seconds": True}, "seconds: not float: True"),
        ({"more": 1}, "more: unknown"),
        ({"blocks": {}}, "blocks: not a list: {}"),
        ({"blocks": [{"type": "text", "text": None}]}, "blocks[].text: not str: None"),
        ({"blocks": [{"type": "text", "text": "x", "note": 1}]}, "blocks[].note: unknown"),
        ({"blocks": [{"type": "call", "input": {}}]}, "blocks[].note: missing"),
        ({"model_info": {"a": "1"}}, "model_info.a: not int: '1'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: dict[str, Any], problem: str) -> None:
    assert Shape(Answer).problems({**GOOD, **change}) == [problem]


def test_a_field_that_is_left_out_is_missed_whether_or_not_the_model_has_a_default() -> None:
    rest = {name: value for name, value in GOOD.items() if name not in ("id", "model_info")}
    assert Shape(Answer).problems(rest) == ["id: missing", "model_info: missing"]
    assert Shape(Answer, absent={"model_info": "on purpose"}).problems(rest) == ["id: missing"]


def test_an_extra_is_forgiven_only_where_it_is_named() -> None:
    shape = Shape(Answer, extras={"more": "on purpose"})
    assert shape.problems({**GOOD, "more": 1}) == []
    assert shape.problems({**GOOD, "blocks": [{"type": "text", "text": "", "more": 1}]}) == [
        "blocks[].more: unknown"
    ]


def test_a_null_is_forgiven_only_where_it_is_named() -> None:
    assert Shape(Answer).problems({**GOOD, "id": None}) == ["id: not str: None"]
    assert Shape(Answer, nulls={"id": "on purpose"}).problems({**GOOD, "id": None}) == []


def test_what_is_forgiven_is_forgiven_within_a_union_too() -> None:
    class Holder(BaseModel):
        call: Call | None = None

    shape = Shape(Holder, absent={"call.note": "on purpose"})
    assert shape.problems({"call": {"type": "call", "input": {}}}) == []


def test_the_libraries_own_models_are_understood() -> None:
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
    answer = {"object": "list", "data": [vector], "model": "m", "usage": usage}
    Shape(CreateEmbeddingResponse).check(answer)
    assert Shape(CreateEmbeddingResponse).problems({**answer, "object": "lists"})
    Shape(RawMessageStreamEvent).check({"type": "message_stop"})
    (problem,) = Shape(RawMessageStreamEvent).problems({"type": "message_stop", "index": 0})
    assert problem == "index: unknown"
    details = dict.fromkeys(
        ("parent_model", "format", "family", "families", "parameter_size", "quantization_level")
    )
    model = {"model": "m", "digest": "d", "size": 1, "details": details}
    Shape(ListResponse).check({"models": [{**model, "modified_at": "2026-11-22T00:00:00.123456789Z"}]})
    assert Shape(ListResponse).problems({"models": [{**model, "modified_at": "yesterday"}]})
