"""Check's answers as Envoy takes them."""

import base64
import math
from collections.abc import Mapping

import orjson
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from envoy.type.v3 import http_status_pb2
from google.rpc import code_pb2, status_pb2

from weft_common.dialect_errors import error_body
from weft_common.dialects import Dialect
from weft_common.errors import WeftError
from weft_common.rpc.status import to_status, to_status_json

_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_NONE: Mapping[str, str] = {}


def allow(
    headers: Mapping[str, str], answer_headers: Mapping[str, str] = _NONE
) -> external_auth_pb2.CheckResponse:
    """Let a request pass with these headers, whatever the client sent under their names; the answer gets the others."""
    return external_auth_pb2.CheckResponse(
        status=status_pb2.Status(code=code_pb2.OK),
        ok_response=external_auth_pb2.OkHttpResponse(
            headers=_options(headers), response_headers_to_add=_options(answer_headers)
        ),
    )


def answer(body: bytes) -> external_auth_pb2.CheckResponse:
    """Answer a request here and now with JSON; Envoy knows no other way than to refuse it with a 200."""
    headers = {"content-type": "application/json; charset=utf-8"}
    return external_auth_pb2.CheckResponse(
        status=status_pb2.Status(code=code_pb2.PERMISSION_DENIED),
        denied_response=external_auth_pb2.DeniedHttpResponse(
            status=http_status_pb2.HttpStatus(code=200), headers=_options(headers), body=body.decode()
        ),
    )


def refuse_rest(error: WeftError, dialect: Dialect, request_id: str = "") -> external_auth_pb2.CheckResponse:
    """Answer a REST request in the words of its dialect; our own typed API answers with google.rpc.Status."""
    headers = {"content-type": "application/json"}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after.total_seconds())))
    if dialect is Dialect.WEFT:
        return _denied(error, error.http_status, headers, to_status_json(error))
    return _denied(error, error.http_status, headers, error_body(dialect, error, request_id).decode())


def refuse_connect(error: WeftError) -> external_auth_pb2.CheckResponse:
    """Answer a call in Connect's protocol or gRPC-web that nothing has made gRPC of yet.

    Connect's unary calls read the body; its streams and gRPC-web go by the HTTP status.
    """
    told = orjson.dumps({"code": error.code.name.lower(), "message": error.message})
    return _denied(error, error.http_status, {"content-type": "application/json"}, told.decode())


def refuse_grpc(error: WeftError) -> external_auth_pb2.CheckResponse:
    """Answer a gRPC call with the status that the same refusal has elsewhere."""
    status = to_status(error)
    headers = {
        "content-type": "application/grpc",
        "grpc-status": str(error.code.value[0]),
        "grpc-message": _percent_encoded(status.details),
    }
    for key, value in status.trailing_metadata:
        raw = value if isinstance(value, bytes) else value.encode()
        headers[key] = base64.b64encode(raw).rstrip(b"=").decode() if key.endswith("-bin") else raw.decode()
    # gRPC-web and Connect clients look for a status in the headers of a 200 only.
    return _denied(error, 200, headers, "")


def _denied(
    error: WeftError, http_status: int, headers: Mapping[str, str], body: str
) -> external_auth_pb2.CheckResponse:
    return external_auth_pb2.CheckResponse(
        # Any code but OK refuses; the client never sees this one.
        status=status_pb2.Status(code=code_pb2.PERMISSION_DENIED, message=error.reason),
        denied_response=external_auth_pb2.DeniedHttpResponse(
            status=http_status_pb2.HttpStatus(code=http_status),
            headers=_options(headers),
            body=body,
        ),
    )


def _options(headers: Mapping[str, str]) -> list[base_pb2.HeaderValueOption]:
    return [
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=key, value=value), append_action=_OVERWRITE
        )
        for key, value in headers.items()
    ]


def _percent_encoded(text: str) -> str:
    """grpc-message's encoding: printable ASCII but for the percent sign, the rest as UTF-8 bytes in hexadecimal."""
    return "".join(chr(b) if 0x20 <= b <= 0x7E and b != 0x25 else f"%{b:02X}" for b in text.encode())
