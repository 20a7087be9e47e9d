"""Which question a request's path asks; the table behind every Check."""

import re
from collections.abc import Mapping
from enum import Enum

from weft_common.purposes import Ability

_REFLECTION = ("/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/")
_INFERENCE_RPCS = "/weft.inference.v1.InferenceService/"
_DIALECTS = "/weft.dialect.v1."


class Route(Enum):
    """What a path needs."""

    # A JSON body that names a model; a replica answers in the dialect of the path.
    JSON_INFERENCE = "json_inference"
    # The same in a gRPC frame, as google.api.HttpBody.
    FRAMED_JSON_INFERENCE = "framed_json_inference"
    # A gRPC frame whose message names a model; a replica answers.
    GRPC_INFERENCE = "grpc_inference"
    # Anything that a key holder may ask a gateway: model lists, reflection, health.
    GATEWAY = "gateway"
    # Anything that a key holder may ask a router.
    ADMIN = "admin"
    # Workers: the router checks the token that they carry.
    NODE = "node"
    # What Ollama's clients know and Weft does by other means.
    OLLAMA_LIBRARY = "ollama_library"
    UNKNOWN = "unknown"


# What replicas answer in a dialect: the path, the rpc that Envoy makes of it, and what it asks of a model.
_DIALECT_INFERENCE: tuple[tuple[str, str, Ability], ...] = (
    ("/v1/chat/completions", "OpenAIService/CreateChatCompletion", Ability.CHAT),
    ("/v1/completions", "OpenAIService/CreateCompletion", Ability.COMPLETE),
    ("/v1/embeddings", "OpenAIService/CreateEmbedding", Ability.EMBED),
    ("/v1/messages", "AnthropicService/CreateMessage", Ability.CHAT),
    ("/v1/messages/count_tokens", "AnthropicService/CountMessageTokens", Ability.TOKENIZE),
    ("/api/chat", "OllamaService/Chat", Ability.CHAT),
    ("/api/generate", "OllamaService/Generate", Ability.CHAT),
    ("/api/embed", "OllamaService/Embed", Ability.EMBED),
    ("/api/embeddings", "OllamaService/Embeddings", Ability.EMBED),
    ("/v1/rerank", "JinaService/Rerank", Ability.RERANK),
    ("/v2/rerank", "CohereService/Rerank", Ability.RERANK),
    ("/v1/tokenize", "LocalAIService/Tokenize", Ability.TOKENIZE),
)
_ABILITIES: Mapping[str, Ability] = {
    f"{_INFERENCE_RPCS}Complete": Ability.COMPLETE,
    f"{_INFERENCE_RPCS}Embed": Ability.EMBED,
    f"{_INFERENCE_RPCS}Rerank": Ability.RERANK,
    f"{_INFERENCE_RPCS}Tokenize": Ability.TOKENIZE,
    **{path: ability for path, _, ability in _DIALECT_INFERENCE},
    **{f"{_DIALECTS}{rpc}": ability for _, rpc, ability in _DIALECT_INFERENCE},
}
_LISTS: tuple[tuple[str, str], ...] = (
    ("/v1/models", "OpenAIService/ListModels"),
    ("/api/tags", "OllamaService/ListTags"),
    ("/api/show", "OllamaService/ShowModel"),
    ("/api/ps", "OllamaService/ListRunning"),
    ("/api/version", "OllamaService/GetVersion"),
)
_LOAD_STATUS = re.compile(r"/api/models/.+/load-status")

_EXACT: Mapping[str, Route] = {
    **dict.fromkeys([path for path, _, _ in _DIALECT_INFERENCE], Route.JSON_INFERENCE),
    **dict.fromkeys([_DIALECTS + rpc for _, rpc, _ in _DIALECT_INFERENCE], Route.FRAMED_JSON_INFERENCE),
    **dict.fromkeys([path for path, _ in _LISTS], Route.GATEWAY),
    **dict.fromkeys([_DIALECTS + rpc for _, rpc in _LISTS], Route.GATEWAY),
    f"{_DIALECTS}OpenAIService/GetModel": Route.GATEWAY,
    **dict.fromkeys(
        [f"/api/{verb}" for verb in ("pull", "push", "create", "copy", "delete")], Route.OLLAMA_LIBRARY
    ),
    "/api/nodes": Route.ADMIN,
    "/api/leases": Route.ADMIN,
    "/api/queues": Route.ADMIN,
    "/api/events": Route.ADMIN,
    # The one rpc of its service that is not for gateways alone.
    "/weft.routing.v1.RoutingService/GetLoadStatus": Route.ADMIN,
}
_PREFIXES: Mapping[str, Route] = {
    _INFERENCE_RPCS: Route.GRPC_INFERENCE,
    "/v1/models/": Route.GATEWAY,
    "/api/blobs/": Route.OLLAMA_LIBRARY,
    "/grpc.health.v1.Health/": Route.GATEWAY,
    **dict.fromkeys(_REFLECTION, Route.GATEWAY),
    "/api/nodes/": Route.ADMIN,
    "/weft.admin.v1.": Route.ADMIN,
    "/weft.scheduling.v1.": Route.ADMIN,
    "/api/node/": Route.NODE,
    "/weft.node.v1.NodeService/": Route.NODE,
}
_POSTED = (Route.JSON_INFERENCE, Route.FRAMED_JSON_INFERENCE, Route.GRPC_INFERENCE)


def route_of(path: str) -> Route:
    """Look a request's path up; the query is no part of it."""
    bare = path.partition("?")[0]
    exact = _EXACT.get(bare)
    if exact is not None:
        return exact
    if _LOAD_STATUS.fullmatch(bare):
        return Route.ADMIN
    return next((route for prefix, route in _PREFIXES.items() if bare.startswith(prefix)), Route.UNKNOWN)


def ability_of(path: str) -> Ability:
    """What an inference path asks of a model; replicas say of rpcs that do not exist that they do not."""
    return _ABILITIES.get(path.partition("?")[0], Ability.CHAT)


def allowed_method(route: Route) -> str | None:
    """The one HTTP method that a route takes, where there is only one."""
    return "POST" if route in _POSTED else None
