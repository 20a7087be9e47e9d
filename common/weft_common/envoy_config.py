"""Envoy's bootstrap, rendered from the templates in the top-level `envoy/` folder."""

import base64
import importlib.util
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import yaml

from weft_common.envoy_replies import IS_RPC, mappers
from weft_common.mesh_token import METADATA_KEY

Address = tuple[str, int]

_MIB = 1024 * 1024
_UINT32_MAX = 2**32 - 1
# As envoy/body_limits.yaml tells sizes apart, and how often a body is held at worst.
_MEDIUM_BYTES, _LARGE_BYTES = 1_000_000, 10_000_000
_TIMES_HELD = 3.6
_LARGE_SHARE, _MEDIUM_SHARE = 0.45, 0.35
# What pages may read of an answer; `*` would not hold for requests with credentials.
_EXPOSED = ", ".join(
    [
        "x-request-id",
        "x-correlation-id",
        "request-id",
        "openai-processing-ms",
        "retry-after",
        "x-weft-node",
        "x-weft-queue-position",
        "x-weft-queue-wait-ms",
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
    ]
)
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class EnvoyParams:
    """What differs from one Envoy to the next; everything else is in the templates."""

    listen_host: str
    listen_port: int
    admin_host: str
    admin_port: int
    gateways: tuple[Address, ...]
    routers: tuple[Address, ...]
    access_log_path: str
    body_limit_bytes: int = 64 * _MIB
    # Above a client's own patience (openai-python: 600 s), or its streams would end by our hand while they queue.
    replica_idle_seconds: int = 1800
    # How long a gateway may think; waits for a model (60 s by default) must end well before.
    check_timeout_seconds: int = 600
    # One file descriptor each; keep it below RLIMIT_NOFILE.
    max_connections: int = 20_000
    max_streams_per_connection: int = 4096
    max_heap_bytes: int = 4096 * _MIB
    # Proves to gateways that a question comes from this Envoy (weft_common.mesh_auth); empty sends none.
    mesh_token: str = ""
    # Tells clients which node served them (`X-Weft-Node`).
    expose_node_header: bool = False
    # Origins whose pages may call us from a browser, such as `https://chat.example.com` or `*`; empty means none.
    cors_origins: tuple[str, ...] = ()


def render_bootstrap(params: EnvoyParams) -> str:
    """Render a complete bootstrap: JSON (so YAML too), with Lua and descriptors inside."""
    values = _settings(params)
    for part in ("cluster_options", "route_options"):
        values |= _mapping(_load(part, values))
    values["local_replies"] = {"mappers": mappers(_sequence(_load("local_replies", values)))}
    for part in ("routes", "access_log"):
        values[part] = _load(part, values)
    values |= {str(each["name"]): each for each in _sequence(_load("body_limits", values))}
    values["http_connection_manager"] = _load("http", values)
    values["listener"] = _load("listener", values)
    values["clusters"] = _load("clusters", values)
    return orjson.dumps(_load("bootstrap", values), option=orjson.OPT_INDENT_2).decode()


def _settings(params: EnvoyParams) -> dict[str, object]:
    limit = params.body_limit_bytes
    return {
        "listen_host": params.listen_host,
        "listen_port": params.listen_port,
        "admin_host": params.admin_host,
        "admin_port": params.admin_port,
        "access_log_path": params.access_log_path,
        "body_limit_bytes": limit,
        # What any Content-Length is below that a client means.
        "over_limit": {"start": limit + 1, "end": 2**53},
        "over_medium": {"start": _MEDIUM_BYTES, "end": 2**53},
        "too_large_abort": {"http_status": 413, "percentage": {"numerator": 100}},
        "node_too_large": f"Bodies of nodes have less than {_MEDIUM_BYTES} bytes.",
        # HttpBody and the gRPC frame add a few bytes to a body that is just within the limit.
        "transcoder_limit_bytes": limit + 64 * 1024,
        "connection_buffer_bytes": _MIB,
        "too_large": f"The request's body is larger than the limit of {limit} bytes.",
        "retry_soon": [{"header": {"key": "retry-after", "value": "1"}}],
        "is_rpc": IS_RPC,
        "replica_connect_timeout": "2s",
        "replica_idle_timeout": f"{params.replica_idle_seconds}s",
        "check_timeout": f"{params.check_timeout_seconds}s",
        # Who somebody is takes a gateway no time, and a wait for a model comes later.
        "key_timeout": "10s",
        "request_timeout": f"{params.check_timeout_seconds + 300}s",
        "max_connections": params.max_connections,
        "max_streams_per_connection": params.max_streams_per_connection,
        "breaker_limit": min(params.max_connections * params.max_streams_per_connection, _UINT32_MAX),
        "max_heap_bytes": params.max_heap_bytes,
        **_body_limits(params),
        "mesh_metadata": [{"key": METADATA_KEY, "value": params.mesh_token}] if params.mesh_token else [],
        "public_filters": _cors(params.cors_origins),
        "edge_lua": _edge_lua(params),
        "descriptor_set": base64.b64encode(_descriptor_set()).decode(),
        # Each gateway is a priority of its own: see the cluster's comment.
        **_endpoints("gateways", [[address] for address in params.gateways]),
        **_endpoints("routers", [params.routers]),
    }


def _body_limits(params: EnvoyParams) -> dict[str, object]:
    """Shares of the heap, by what bodies of each size may come to."""
    held = _TIMES_HELD / params.max_heap_bytes
    unmeasured = min(_LARGE_BYTES, params.body_limit_bytes)
    return {
        "large_body_count": _within(_LARGE_SHARE / (held * max(params.body_limit_bytes, _LARGE_BYTES))),
        "medium_body_count": _within(_MEDIUM_SHARE / (held * _LARGE_BYTES)),
        "unmeasured_body_count": _within(_MEDIUM_SHARE / (held * _MEDIUM_BYTES)),
        # A few are enough: nodes of ours tell the length of what they send, and little is counted below _MEDIUM_BYTES.
        "node_body_count": _within(_MEDIUM_SHARE / (held * _MEDIUM_BYTES) / 8),
        "node_limit_bytes": _MEDIUM_BYTES - 1,
        "unmeasured_limit_bytes": unmeasured,
        "unmeasured_too_large": (
            f"A body that comes without a Content-Length may have {unmeasured} bytes, and this one has more:"
            " send its length ahead."
        ),
    }


def _within(count: float) -> int:
    return max(1, min(int(count), _UINT32_MAX))


def _endpoints(name: str, priorities: Sequence[Sequence[Address]]) -> dict[str, object]:
    addresses = [address for group in priorities for address in group]
    if not addresses:
        raise ValueError(f"Envoy needs the address of at least one of the {name}.")
    literal = all(_is_ip(host) for host, _ in addresses)
    return {
        f"{name}_type": "STATIC" if literal else "STRICT_DNS",
        f"{name}_endpoints": [
            {"priority": priority, "lb_endpoints": [_endpoint(address) for address in group]}
            for priority, group in enumerate(priorities)
        ],
    }


def _endpoint(address: Address) -> dict[str, object]:
    host, port = address
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _cors(origins: tuple[str, ...]) -> dict[str, object]:
    if not origins:
        return {}
    matchers = [{"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin} for origin in origins]
    return {
        "envoy.filters.http.cors": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
            "allow_origin_string_match": matchers,
            "allow_methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
            # `*` is every name but this one, by the Fetch standard.
            "allow_headers": "authorization, *",
            "expose_headers": _EXPOSED,
            "max_age": "600",
        }
    }


def _edge_lua(params: EnvoyParams) -> str:
    settings = f"local EXPOSE_NODE = {str(params.expose_node_header).lower()}\n"
    return settings + (_assets() / "edge.lua").read_text()


def _load(name: str, values: Mapping[str, object]) -> object:
    return _fill(yaml.safe_load((_assets() / f"{name}.yaml").read_text()), values)


def _fill(tree: object, values: Mapping[str, object]) -> object:
    """Replace `${name}`: a whole scalar by the value with its type, a part of one by its text."""
    match tree:
        case dict():
            return {key: _fill(value, values) for key, value in tree.items()}
        case list():
            return [_fill(item, values) for item in tree]
        case str():
            if whole := _PLACEHOLDER.fullmatch(tree):
                return values[whole[1]]
            return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), tree)
        case _:
            return tree


def _mapping(tree: object) -> Mapping[str, object]:
    assert isinstance(tree, dict)
    return tree


def _sequence(tree: object) -> Sequence[Mapping[str, object]]:
    assert isinstance(tree, list)
    return tree


def _assets() -> Path:
    """The templates: package data once installed, the repository's folder in an editable install."""
    installed = Path(__file__).parent / "envoy_assets"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "envoy"


def _descriptor_set() -> bytes:
    for folder in _package_folders("weft_proto"):
        if (file := folder / "descriptors.binpb").is_file():
            return file.read_bytes()
    raise FileNotFoundError("descriptors.binpb is missing: run `make gen`.")


def _package_folders(name: str) -> list[Path]:
    """Folders of a package, found without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
