"""The list of models as Anthropic's clients read it, page by page."""

import pytest

from tests.e2e.sdk.shapes import ANTHROPIC_MODEL, ANTHROPIC_MODELS
from weft_common.errors import InvalidRequest
from weft_gateway.anthropic_models import anthropic_model, anthropic_page
from weft_proto.pb.weft.types.v1 import model_pb2

MODELS = {name: model_pb2.Model(name=name, created_seconds=1_700_000_000) for name in "cbade"}


def ids(**asked: object) -> tuple[list[object], object, object, object]:
    page = anthropic_page(MODELS, **asked)  # type: ignore[arg-type]
    ANTHROPIC_MODELS.check(page)
    data = page["data"]
    assert isinstance(data, list)
    return [model["id"] for model in data], page["has_more"], page["first_id"], page["last_id"]


def test_a_model_has_all_that_the_library_knows() -> None:
    told = anthropic_model(model_pb2.Model(name="m", created_seconds=1_700_000_000, context_size=4096))
    ANTHROPIC_MODEL.check(told)
    assert (told["created_at"], told["max_input_tokens"], told["max_tokens"]) == (
        "2023-11-14T22:13:20Z",
        4096,
        4096,
    )
    vectors = model_pb2.Model(name="v", context_size=512, purpose=model_pb2.MODEL_PURPOSE_EMBEDDING)
    assert (anthropic_model(vectors)["max_input_tokens"], anthropic_model(vectors)["max_tokens"]) == (
        512,
        None,
    )


@pytest.mark.parametrize(
    ("purpose", "size"),
    [("MODEL_PURPOSE_EMBEDDING", 512), ("MODEL_PURPOSE_RERANKING", 512), ("MODEL_PURPOSE_UNSPECIFIED", 4096)],
)
def test_what_makes_vectors_takes_no_more_than_its_weights_read(purpose: str, size: int) -> None:
    model = model_pb2.Model(name="m", context_size=4096, purpose=model_pb2.ModelPurpose.Value(purpose))
    assert anthropic_model(model)["max_input_tokens"] == 4096
    model.about.trained_context_size = 512
    assert anthropic_model(model)["max_input_tokens"] == size


def test_all_are_on_one_page_where_they_are_few() -> None:
    assert ids() == (["a", "b", "c", "d", "e"], False, "a", "e")
    assert anthropic_page({}) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_pages_follow_each_other_in_both_directions() -> None:
    assert ids(limit=2) == (["a", "b"], True, "a", "b")
    assert ids(limit=2, after_id="b") == (["c", "d"], True, "c", "d")
    assert ids(limit=2, after_id="d") == (["e"], False, "e", "e")
    assert ids(limit=2, before_id="d") == (["b", "c"], True, "b", "c")
    assert ids(limit=2, before_id="b") == (["a"], False, "a", "a")
    assert ids(after_id="e") == ([], False, None, None)


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"limit": 1001}, "limit"), ({"limit": -1}, "limit"), ({"after_id": "z"}, "after_id")],
)
def test_what_cannot_be_a_page_is_refused(asked: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ids(**asked)
    assert caught.value.violations[0].field == field
