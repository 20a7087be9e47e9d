"""The table of paths."""

import pytest

from weft_common.purposes import Ability
from weft_gateway.routes import Route, ability_of, allowed_method, route_of


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/chat/completions", Route.JSON_INFERENCE),
        ("/v1/chat/completions?x=1", Route.JSON_INFERENCE),
        ("/v1/completions", Route.JSON_INFERENCE),
        ("/v1/embeddings", Route.JSON_INFERENCE),
        ("/v1/messages", Route.JSON_INFERENCE),
        ("/v1/messages/count_tokens?beta=true", Route.JSON_INFERENCE),
        ("/v1/messages/batches", Route.UNKNOWN),
        ("/api/chat", Route.JSON_INFERENCE),
        ("/api/generate", Route.JSON_INFERENCE),
        ("/api/embed", Route.JSON_INFERENCE),
        ("/api/embeddings", Route.JSON_INFERENCE),
        ("/v1/rerank", Route.JSON_INFERENCE),
        ("/v2/rerank", Route.JSON_INFERENCE),
        ("/v1/tokenize", Route.JSON_INFERENCE),
        ("/weft.dialect.v1.OllamaService/Chat", Route.FRAMED_JSON_INFERENCE),
        ("/weft.dialect.v1.OllamaService/ListTags", Route.GATEWAY),
        ("/weft.dialect.v1.OllamaService/Nothing", Route.UNKNOWN),
        ("/api/tags", Route.GATEWAY),
        ("/api/show", Route.GATEWAY),
        ("/api/ps", Route.GATEWAY),
        ("/api/version", Route.GATEWAY),
        ("/api/pull", Route.OLLAMA_LIBRARY),
        ("/api/blobs/sha256:00", Route.OLLAMA_LIBRARY),
        ("/v1/models", Route.GATEWAY),
        ("/v1/models/a/b", Route.GATEWAY),
        ("/weft.inference.v1.InferenceService/Chat", Route.GRPC_INFERENCE),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Route.GATEWAY),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Route.GATEWAY),
        ("/grpc.health.v1.Health/Check", Route.GATEWAY),
        ("/api/nodes/models/load", Route.ADMIN),
        ("/weft.admin.v1.NodeAdminService/LoadModel", Route.ADMIN),
        ("/api/nodes", Route.ADMIN),
        ("/api/leases", Route.ADMIN),
        ("/api/events?page_size=1", Route.ADMIN),
        ("/api/queues", Route.ADMIN),
        ("/api/leases/x", Route.UNKNOWN),
        ("/api/nodes?page_size=1", Route.ADMIN),
        ("/weft.scheduling.v1.SchedulingService/SetPolicy", Route.ADMIN),
        ("/api/models/org/name/load-status", Route.ADMIN),
        ("/api/models//load-status", Route.UNKNOWN),
        ("/weft.routing.v1.RoutingService/GetLoadStatus", Route.ADMIN),
        ("/weft.routing.v1.RoutingService/Route", Route.UNKNOWN),
        ("/api/node/register", Route.NODE),
        ("/weft.node.v1.NodeService/Heartbeat", Route.NODE),
        ("/", Route.UNKNOWN),
        ("/v1/modelsx", Route.UNKNOWN),
        ("/weft.routing.v1.RoutingService/WatchFleet", Route.UNKNOWN),
        ("/weft.backend.v1.BackendService/UnloadModel", Route.UNKNOWN),
    ],
)
def test_paths_have_their_route(path: str, route: Route) -> None:
    assert route_of(path) is route


def test_inference_is_posted() -> None:
    assert allowed_method(Route.JSON_INFERENCE) == allowed_method(Route.GRPC_INFERENCE) == "POST"
    assert allowed_method(Route.GATEWAY) is None


def test_typed_rpcs_ask_for_different_things() -> None:
    service = "/weft.inference.v1.InferenceService"
    asked = [ability_of(f"{service}/{rpc}") for rpc in ("Chat", "Embed", "Rerank", "Tokenize")]
    assert asked == [Ability.CHAT, Ability.EMBED, Ability.RERANK, Ability.TOKENIZE]
    assert ability_of("/v1/chat/completions") is Ability.CHAT
    assert (
        ability_of("/v1/embeddings?x=1")
        is ability_of("/weft.dialect.v1.OllamaService/Embed")
        is Ability.EMBED
    )
