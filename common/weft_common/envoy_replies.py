"""Envoy's mappers of its own answers, made of the cases in envoy/local_replies.yaml: one for each case and dialect."""

from collections.abc import Iterator, Mapping, Sequence

import orjson

from weft_common.dialect_errors import error_body
from weft_common.dialects import ANTHROPIC_VERSION, LISTS, PATHS, Dialect
from weft_common.errors import BY_REASON, DOMAIN, WeftError

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
# What Envoy fills in; in dialects that tell it.
_REQUEST_ID = "%REQ(X-REQUEST-ID)%"
# The transcoder has replaced a path that it knows by the rpc's.
_PATH = (
    "('x-envoy-original-path' in request.headers ? request.headers['x-envoy-original-path'] : request.path)"
)

IS_RPC = (
    "('content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"
    " && !('x-envoy-original-path' in request.headers))"
)
"""As Envoy's own answers see a request: the transcoder has made gRPC of REST and noted where it came from."""


# What is no request by HTTP's own rules is answered before there is a request id; any other answer overwrites this.
_ID = {
    "header": {"key": "x-correlation-id", "value": "%UNIQUE_ID%"},
    "append_action": "ADD_IF_ABSENT",
}


def mappers(cases: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """What `local_reply_config.mappers` takes; the first one that matches decides."""
    return [mapper for case in cases for mapper in _mappers(case)]


def _mappers(case: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    if "flags" in case:
        yield {"filter": {"response_flag_filter": {"flags": case["flags"]}}}
        return
    when, more = str(case["when"]), case.get("headers_to_add", [])
    assert isinstance(more, list)
    added = {"headers_to_add": [*more, _ID]}
    if "reason" not in case:
        said = {"text_format_source": {"inline_string": case["text"]}} if "text" in case else None
        told = {"body_format_override": said} if said else {}
        yield {"filter": _cel(when), **added, **told}
        return
    error = BY_REASON[str(case["reason"])](str(case["message"]))
    for condition, dialect in _DIALECTS:
        body = (
            _status(error)
            if dialect is Dialect.WEFT
            else orjson.loads(error_body(dialect, error, _REQUEST_ID))
        )
        yield {
            "filter": _cel(f"({when}) && {condition}" if condition else when),
            **added,
            "body_format_override": {"json_format": body},
        }


# OpenAI's words are those of every path that is nobody else's.
_DIALECTS: Sequence[tuple[str, Dialect]] = (
    *((f"{_PATH}.matches(r'{pattern}')", dialect) for dialect, pattern in PATHS.items()),
    (f"'{ANTHROPIC_VERSION}' in request.headers && {_PATH}.matches(r'{LISTS}')", Dialect.ANTHROPIC),
    ("", Dialect.OPENAI),
)


def _status(error: WeftError) -> Mapping[str, object]:
    info = {"@type": _ERROR_INFO, "reason": error.reason, "domain": DOMAIN}
    return {"code": error.code.value[0], "message": error.message, "details": [info]}


def _cel(expression: str) -> dict[str, object]:
    """Wrap an expression as the access-log filter that decides whether a mapper of local replies applies."""
    typed = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": expression,
    }
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": typed}}
