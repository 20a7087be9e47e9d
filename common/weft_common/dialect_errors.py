"""Failures in the words of foreign dialects: the one place where a WeftError becomes a REST error body.

Replicas, gateways and Envoy all refuse requests, and a client must not be able to tell which of them did. What
envoy/edge.lua does on its own is held to this by a test.
"""

from collections.abc import Callable, Mapping

import orjson

from weft_common.dialects import Dialect
from weft_common.errors import WeftError

_OPENAI_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}

# Where OpenAI has a code of its own, clients look for that one; elsewhere it is the reason in lower case.
_OPENAI_CODES: Mapping[str, str | None] = {
    "INVALID_REQUEST": None,
    "UNKNOWN_PATH": "unknown_url",
    "INTERNAL": "internal_error",
}

# Anthropic's types tell its statuses; 503 is what it calls overloaded (529), which its clients retry all the same.
_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}

_LOADING_NUMBERS = ("progress", "staged_bytes", "bytes_sent", "total_bytes", "eta_seconds")

# A replica's body travels in metadata, and an engine's own words may be longer than that takes.
_MAX_MESSAGE_CHARACTERS = 4_000


def error_body(dialect: Dialect, error: WeftError, request_id: str = "") -> bytes:
    """Encode a failure as a dialect's complete error body; Dialect.WEFT's is weft_common.rpc.status's to write.

    `request_id` is told by dialects that have a place for it.
    """
    return orjson.dumps(_BODIES[dialect](error, request_id) | _loading(error))


def openai_error_body(error: WeftError) -> bytes:
    """The same for OpenAI; `param` is the first bad field."""
    return error_body(Dialect.OPENAI, error)


def anthropic_error_type(http_status: int) -> str:
    """What Anthropic calls a failure of this status."""
    return _ANTHROPIC_TYPES.get(http_status, "api_error" if http_status >= 500 else "invalid_request_error")


def _openai(error: WeftError, _: str) -> dict[str, object]:
    return {
        "error": {
            "message": _message(error),
            "type": _OPENAI_TYPES.get(error.http_status, "server_error"),
            "param": error.violations[0].field if error.violations else None,
            "code": _OPENAI_CODES.get(error.reason, error.reason.lower()),
        }
    }


def _anthropic(error: WeftError, request_id: str) -> dict[str, object]:
    told: dict[str, object] = {
        "type": anthropic_error_type(error.http_status),
        "message": _message(error),
    }
    if "error_code" in error.metadata:
        told["details"] = {"error_code": error.metadata["error_code"]}
    return {"type": "error", "error": told, "request_id": request_id or None}


def _ollama(error: WeftError, _: str) -> dict[str, object]:
    if error.reason == "MODEL_NOT_FOUND" and "model" in error.metadata:
        # In its own words, since clients look for them to pull a model.
        return {"error": f"model '{error.metadata['model']}' not found"[:_MAX_MESSAGE_CHARACTERS]}
    return {"error": _message(error)}


def _jina(error: WeftError, _: str) -> dict[str, object]:
    return {"detail": _message(error)}


def _cohere(error: WeftError, request_id: str) -> dict[str, object]:
    named: dict[str, object] = {"id": request_id} if request_id else {}
    return named | {"message": _message(error)}


_BODIES: Mapping[Dialect, Callable[[WeftError, str], dict[str, object]]] = {
    Dialect.OPENAI: _openai,
    Dialect.ANTHROPIC: _anthropic,
    Dialect.OLLAMA: _ollama,
    Dialect.JINA: _jina,
    Dialect.COHERE: _cohere,
}


def _message(error: WeftError) -> str:
    return error.message[:_MAX_MESSAGE_CHARACTERS]


def _loading(error: WeftError) -> dict[str, object]:
    """How far a load is, beside the error, as LocalAI's clients know it."""
    if error.reason != "MODEL_LOADING" or "state" not in error.metadata:
        return {}
    numbers = {key: float(error.metadata[key]) for key in _LOADING_NUMBERS if key in error.metadata}
    texts = {key: error.metadata.get(key, "") for key in ("model", "state", "node")}
    return {"loading": {**texts, **numbers}}
