"""The model lists of the dialects, from the gateway's own view and exact in shape."""

import orjson
from google.api import httpbody_pb2

from weft_common.dialects import ANTHROPIC_VERSION, Dialect
from weft_common.errors import ModelNotFound
from weft_common.rpc import current_call
from weft_common.rpc.dialects import told_in
from weft_gateway.anthropic_models import anthropic_model, anthropic_page
from weft_gateway.fleet_view import FleetView
from weft_gateway.model_tags import other_name
from weft_proto.pb.weft.dialect.v1 import openai_service_pb2
from weft_proto.pb.weft.types.v1 import model_pb2

_OWNER = "weft"


class OpenAIModels:
    """The lists of weft.dialect.v1.OpenAIService."""

    def __init__(self, view: FleetView) -> None:
        self._view = view

    async def list_models(self, request: openai_service_pb2.ListModelsRequest) -> httpbody_pb2.HttpBody:
        """Tell all of them or, to Anthropic's clients, a page."""
        with told_in(dialect := _dialect(), current_call()):
            if dialect is Dialect.ANTHROPIC:
                page = anthropic_page(
                    self._view.models,
                    after_id=request.after_id,
                    before_id=request.before_id,
                    limit=request.limit,
                )
                return _json(page)
            models = [_model(self._view.models[name]) for name in sorted(self._view.models)]
            return _json({"object": "list", "data": models})

    async def get_model(self, request: openai_service_pb2.GetModelRequest) -> httpbody_pb2.HttpBody:
        """Tell of one."""
        with told_in(dialect := _dialect(), current_call()):
            model = self._view.models.get(request.id) or self._view.models.get(other_name(request.id))
            if model is None:
                raise ModelNotFound(
                    f"The model '{request.id}' does not exist or you do not have access to it."
                )
            # Anthropic's API resolves an alias; OpenAI's tells the name that was asked for, in Ollama as well.
            if dialect is Dialect.ANTHROPIC:
                return _json(anthropic_model(model))
            return _json({**_model(model), "id": request.id})


def _dialect() -> Dialect:
    """Both APIs have the same paths; Anthropic's clients say that they are."""
    return Dialect.ANTHROPIC if ANTHROPIC_VERSION in current_call().metadata else Dialect.OPENAI


def _model(model: model_pb2.Model) -> dict[str, object]:
    return {"id": model.name, "object": "model", "created": model.created_seconds, "owned_by": _OWNER}


def _json(document: object) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps(document))
