"""The list of models in Anthropic's words: pages, each model with the size of its context. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from weft_common.errors import FieldViolation, InvalidRequest
from weft_gateway.model_context import context_of
from weft_proto.pb.weft.types.v1 import model_pb2

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000


def anthropic_page(
    models: Mapping[str, model_pb2.Model], *, after_id: str = "", before_id: str = "", limit: int = 0
) -> dict[str, object]:
    """A page of models by their names; raises InvalidRequest that names the field."""
    names = sorted(models)
    if not 0 <= limit <= MAX_LIMIT:
        raise _refused("limit", f"Should be from 1 to {MAX_LIMIT:,}")
    page, has_more = _cut(names, after_id, before_id, limit or DEFAULT_LIMIT)
    return {
        "data": [anthropic_model(models[name]) for name in page],
        "has_more": has_more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def anthropic_model(model: model_pb2.Model) -> dict[str, object]:
    """One model. What it is able to do only its replicas know; models of files are in use until the file is gone."""
    is_chat = model.purpose == model_pb2.MODEL_PURPOSE_UNSPECIFIED
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.created_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "capabilities": None,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "max_input_tokens": context_of(model) or None,
        "max_tokens": (context_of(model) or None) if is_chat else None,
    }


def _cut(names: Sequence[str], after_id: str, before_id: str, limit: int) -> tuple[Sequence[str], bool]:
    """Which names a page has, and whether there are more in the direction that was asked for."""
    if before_id:
        end = _place(names, "before_id", before_id)
        begin = max(0, end - limit)
        return names[begin:end], begin > 0
    begin = _place(names, "after_id", after_id) + 1 if after_id else 0
    return names[begin : begin + limit], begin + limit < len(names)


def _place(names: Sequence[str], field: str, name: str) -> int:
    if name not in names:
        raise _refused(field, "There is no model of this id")
    return names.index(name)


def _refused(field: str, words: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {words}.", violations=[FieldViolation(field, words)])
