"""What gateways answer of weft.dialect.v1.OllamaService: which models there are, and which are loaded."""

from collections.abc import Iterator, Mapping
from math import inf

import orjson
from google.api import httpbody_pb2

from weft_common.clock import Clock
from weft_common.dialects import Dialect
from weft_common.errors import InvalidRequest, ModelNotFound
from weft_common.rpc import Method, current_call, upb_unary
from weft_common.rpc.dialects import told_in
from weft_gateway.bodies import question_of_json
from weft_gateway.expiry import Stay
from weft_gateway.fleet_view import FleetView
from weft_gateway.ollama_shapes import VERSION, Running, running_object, show_object, tags_object
from weft_gateway.uses import Uses
from weft_proto.pb.weft.dialect.v1 import ollama_service_pb2 as pb
from weft_proto.pb.weft.types.v1 import model_pb2, node_pb2, replica_pb2

_SERVICE = "/weft.dialect.v1.OllamaService/"
_CPU = "cpu"


class OllamaLists:
    """Answers from the gateway's own view."""

    def __init__(self, view: FleetView, uses: Uses, clock: Clock) -> None:
        self._view = view
        self._uses = uses
        self._clock = clock

    def methods(self) -> list[Method]:
        """The rpcs."""
        return [
            upb_unary(f"{_SERVICE}ListTags", self.list_tags, pb.ListTagsRequest),
            upb_unary(f"{_SERVICE}ShowModel", self.show_model, httpbody_pb2.HttpBody),
            upb_unary(f"{_SERVICE}ListRunning", self.list_running, pb.ListRunningRequest),
            upb_unary(f"{_SERVICE}GetVersion", self.get_version, pb.GetVersionRequest),
        ]

    async def list_tags(self, request: pb.ListTagsRequest) -> httpbody_pb2.HttpBody:
        """Describe all models, the newest first, as Ollama does."""
        models = sorted(self._view.models.values(), key=lambda model: (-model.created_seconds, model.name))
        return _json(tags_object(models))

    async def show_model(self, body: httpbody_pb2.HttpBody) -> httpbody_pb2.HttpBody:
        """Describe one model."""
        with told_in(Dialect.OLLAMA, current_call()):
            return _json(show_object(self._named(body.data)))

    async def list_running(self, request: pb.ListRunningRequest) -> httpbody_pb2.HttpBody:
        """Describe what is loaded."""
        running = sorted(self._running(), key=lambda one: one.model.name)
        return _json(running_object(running, self._clock.wall()))

    async def get_version(self, request: pb.GetVersionRequest) -> httpbody_pb2.HttpBody:
        """Say which version of Ollama's API this is level with."""
        return _json({"version": VERSION})

    def _named(self, body: bytes) -> model_pb2.Model:
        question = question_of_json(_with_model(body), Dialect.OLLAMA)
        model = self._view.models.get(question.model) or self._view.models.get(question.alias)
        if model is None:
            raise ModelNotFound(f"model '{question.model}' not found")
        return model

    def _running(self) -> Iterator[Running]:
        for model, replicas in self._view.running():
            yield Running(
                model,
                size_bytes=sum(_size(model, replica) for replica, _ in replicas),
                device_bytes=sum(_device_bytes(replica, node) for replica, node in replicas),
                expiry=max(self._expiry(model, replica, node) for replica, node in replicas),
            )

    def _expiry(self, model: model_pb2.Model, replica: replica_pb2.Replica, node: node_pb2.Node) -> float:
        use = self._uses.of(replica.id)
        policy = self._view.policies.get(model.name)
        stay = Stay(model, replica, node, policy, use.keep_alive, self._view.keep_alive).seconds()
        return inf if stay == inf else self._clock.wall() - self._clock.monotonic() + use.moment + stay


def _with_model(body: bytes) -> bytes:
    """Older clients say `name` for what others call `model`."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from error
    if isinstance(asked, dict) and not asked.get("model") and isinstance(asked.get("name"), str):
        return orjson.dumps({"model": asked["name"]})
    return body


def _size(model: model_pb2.Model, replica: replica_pb2.Replica) -> int:
    """What it was found to hold or, until it is measured, what its files say."""
    return replica.memory_bytes or model.size_bytes + model.kv_bytes


def _device_bytes(replica: replica_pb2.Replica, node: node_pb2.Node) -> int:
    vendors: Mapping[str, str] = {device.id: device.vendor for device in node.devices}
    return sum(share.size_bytes for share in replica.shares if vendors.get(share.device_id, _CPU) != _CPU)


def _json(document: object) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json; charset=utf-8", data=orjson.dumps(document))
