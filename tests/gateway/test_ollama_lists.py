"""Ollama's lists, exact in shape."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from google.api import httpbody_pb2

from tests.e2e.sdk.shapes import OLLAMA_PS, OLLAMA_SHOW, OLLAMA_TAGS
from tests.gateway.builders import a_full_update, a_model, a_node, a_policy, a_replica, a_view
from weft_common.clock import ManualClock
from weft_common.errors import InvalidRequest, ModelNotFound
from weft_common.rpc.context import CallContext, call_scope
from weft_gateway.ollama_lists import OllamaLists
from weft_gateway.uses import Uses
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_proto.pb.weft.dialect.v1 import ollama_service_pb2 as pb
from weft_proto.pb.weft.types.v1 import model_pb2, node_pb2, replica_pb2

ABOUT = model_pb2.ModelAbout(
    format="gguf",
    architecture="qwen3",
    parameter_size="7.2B",
    quantization="Q4_K_M",
    embedding_size=512,
    trained_context_size=32_768,
    thinks=True,
)


class _World:
    def __init__(self, **fields: Any) -> None:
        self.clock = ManualClock()
        self.view = a_view(self.clock)
        self.view.apply(a_full_update(**fields))
        self.uses = Uses(self.clock)
        self.lists = OllamaLists(self.view, self.uses, self.clock)

    async def tags(self) -> Any:
        return _document(await self.lists.list_tags(pb.ListTagsRequest()), OLLAMA_TAGS)

    async def running(self) -> Any:
        return _document(await self.lists.list_running(pb.ListRunningRequest()), OLLAMA_PS)

    async def show(self, **fields: Any) -> Any:
        return _document(await self.show_raw(orjson.dumps(fields)), OLLAMA_SHOW)

    async def show_raw(self, body: bytes) -> httpbody_pb2.HttpBody:
        with call_scope(CallContext()):
            return await self.lists.show_model(httpbody_pb2.HttpBody(data=body))

    def report(self, **load: Any) -> None:
        self.uses.hear(reports_pb2.LoadReport(replicas=[reports_pb2.ReplicaLoad(replica_id="r-1", **load)]))


def _document(body: httpbody_pb2.HttpBody, shape: Any) -> Any:
    assert body.content_type == "application/json; charset=utf-8"
    document = orjson.loads(body.data)
    shape.check(document)
    return document


async def test_all_models_are_told_the_newest_first() -> None:
    models = [
        a_model("old", size_bytes=5),
        a_model("org/new:q4", created_seconds=1_700_000_000, backend="llama-cpp", about=ABOUT),
    ]
    told = (await _World(models=models).tags())["models"]
    assert [model["name"] for model in told] == ["org/new:q4", "old:latest"]
    assert [model["size"] for model in told] == [0, 5]
    assert told[0]["modified_at"] == "2023-11-14T22:13:20.000000Z"
    assert told[0]["details"] == {
        "parent_model": "",
        "format": "gguf",
        "family": "qwen3",
        "families": ["qwen3"],
        "parameter_size": "7.2B",
        "quantization_level": "Q4_K_M",
    }
    assert len({model["digest"] for model in told} | {told[0]["digest"]}) == 2
    assert all(len(model["digest"]) == 64 for model in told)


@pytest.mark.parametrize(
    "asked", [{"model": "m"}, {"model": "m:latest"}, {"name": "m"}, {"model": "m", "verbose": True}]
)
async def test_a_model_is_shown(asked: Any) -> None:
    told = await _World(models=[a_model(backend="llama-cpp", context_size=4096)]).show(**asked)
    assert told["capabilities"] == ["completion", "tools"]
    architecture = told["model_info"]["general.architecture"]
    assert told["model_info"][f"{architecture}.context_length"] == 4096
    told = await _World(models=[a_model(context_size=4096, about=ABOUT)]).show(**asked)
    assert told["model_info"] == {
        "general.architecture": "qwen3",
        "qwen3.context_length": 4096,
        "qwen3.embedding_length": 512,
    }


@pytest.mark.parametrize(
    ("fields", "capabilities"),
    [
        ({"purpose": "MODEL_PURPOSE_EMBEDDING"}, ["embedding"]),
        ({"purpose": "MODEL_PURPOSE_RERANKING"}, ["rerank"]),
        ({"about": ABOUT}, ["completion", "tools", "thinking"]),
        ({"options": {"mmproj": "/m/eye.gguf"}}, ["completion", "tools", "vision"]),
        ({"backend": "vllm", "options": {"vision": "true"}}, ["completion", "tools", "vision"]),
        ({"backend": "vllm", "options": {"vision": "false"}}, ["completion", "tools"]),
        ({"backend": "llama-cpp", "options": {"vision": "true"}}, ["completion", "tools"]),
    ],
)
async def test_what_a_model_can(fields: dict[str, Any], capabilities: list[str]) -> None:
    assert (await _World(models=[a_model(**fields)]).show(model="m"))["capabilities"] == capabilities


async def test_the_context_is_what_is_served() -> None:
    about = model_pb2.ModelAbout(architecture="bert", trained_context_size=512)
    for purpose, size in (("MODEL_PURPOSE_EMBEDDING", 512), ("MODEL_PURPOSE_UNSPECIFIED", 4096)):
        told = await _World(models=[a_model(context_size=4096, purpose=purpose, about=about)]).show(model="m")
        assert told["model_info"]["bert.context_length"] == size
        assert told["parameters"].split() == ["num_ctx", str(size)]


async def test_a_refusal_says_what_is_wrong() -> None:
    world = _World()
    with pytest.raises(ModelNotFound, match="model 'x' not found"):
        await world.show(model="x")
    nested = b'{"name": ' + b"[" * 500 + b"]" * 500 + b"}"
    for body in (b"", b"[]", b"{}", b'{"model": 5}', b'{"name": 5}', nested):
        with pytest.raises(InvalidRequest):
            await world.show_raw(body)


async def test_what_is_loaded_expires_once_it_was_idle_for_as_long_as_it_may() -> None:
    world = _World()
    world.report(in_flight_count=1, keep_alive={"seconds": 300})
    world.clock.advance(60)
    world.report(keep_alive={"seconds": 300})
    (told,) = (await world.running())["models"]
    assert (told["name"], told["model"]) == ("m:latest", "m:latest")
    assert told["expires_at"] == _time(world.clock.wall() + 240)


async def test_the_fleets_setting_counts_where_nobody_says_anything() -> None:
    world = _World(keep_alive={"seconds": 90})
    world.report()
    (told,) = (await world.running())["models"]
    assert told["expires_at"] == _time(world.clock.wall() + 90)
    assert world.view.everything().keep_alive.seconds == 90


async def test_what_nothing_unloads_stays_for_centuries() -> None:
    (told,) = (await _World().running())["models"]
    assert int(told["expires_at"][:4]) > 2200
    (told,) = (await _World(keep_alive={"seconds": 9}, policies=[a_policy(min_replicas=1)]).running())[
        "models"
    ]
    assert int(told["expires_at"][:4]) > 2200


async def test_sizes_are_those_of_all_replicas() -> None:
    node = a_node(
        devices=[node_pb2.Device(id="cpu", vendor="cpu"), node_pb2.Device(id="GPU-1", vendor="nvidia")]
    )
    shares = [
        replica_pb2.DeviceShare(device_id=name, size_bytes=size) for name, size in (("GPU-1", 30), ("cpu", 7))
    ]
    replicas = [a_replica("r-1", memory_bytes=50, shares=shares), a_replica("r-2", index=1)]
    models = [a_model(size_bytes=20, kv_bytes=4, context_size=2048)]
    (told,) = (await _World(nodes=[node], replicas=replicas, models=models).running())["models"]
    assert (told["size"], told["size_vram"], told["context_length"]) == (74, 30, 2048)


async def test_what_is_not_ready_is_not_loaded() -> None:
    assert (await _World(replicas=[a_replica(state="REPLICA_STATE_LOADING")]).running()) == {"models": []}


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
