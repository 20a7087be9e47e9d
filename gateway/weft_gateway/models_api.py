"""The model lists of the dialects, from the gateway's own view and exact in shape."""

import base64

import orjson
from google.api import httpbody_pb2

from weft_common.dialect_errors import openai_error_body
from weft_common.errors import ModelNotFound
from weft_common.rpc import current_call
from weft_gateway.fleet_view import FleetView
from weft_proto.pb.weft.dialect.v1 import openai_service_pb2
from weft_proto.pb.weft.types.v1 import model_pb2

_OWNER = "weft"


class OpenAIModels:
    """The lists of weft.dialect.v1.OpenAIService."""

    def __init__(self, view: FleetView) -> None:
        self._view = view

    async def list_models(self, request: openai_service_pb2.ListModelsRequest) -> httpbody_pb2.HttpBody:
        models = [_model(self._view.models[name]) for name in sorted(self._view.models)]
        return _json({"object": "list", "data": models})

    async def get_model(self, request: openai_service_pb2.GetModelRequest) -> httpbody_pb2.HttpBody:
        model = self._view.models.get(request.id)
        if model is None:
            error = ModelNotFound(f"The model '{request.id}' does not exist or you do not have access to it.")
            body = base64.b64encode(openai_error_body(error)).decode()
            current_call().add_trailing_metadata([("x-weft-error", body)])
            raise error
        return _json(_model(model))


def _model(model: model_pb2.Model) -> dict[str, object]:
    return {"id": model.name, "object": "model", "created": model.created_seconds, "owned_by": _OWNER}


def _json(document: object) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps(document))
