"""WeftError to google.rpc.Status and back: one ErrorInfo, and RetryInfo and BadRequest where they apply."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from weft_common.errors import (
    BY_REASON,
    DOMAIN,
    DeadlineExceeded,
    FieldViolation,
    InternalError,
    PartUnreachable,
    WeftError,
)

# The text travels twice (grpc-message and details, percent-encoded and base64), and clients refuse more than
# 8 KiB of metadata in their default settings; an engine's own words can be longer than that.
_MESSAGE_BYTES = 2_000
_ENTRIES = 8
_ENTRY_BYTES = 200


def to_status(error: WeftError) -> grpc.Status:
    """Describe the error as a status whose trailing metadata holds the details."""
    return rpc_status.to_status(_status(error))


def to_status_json(error: WeftError) -> str:
    """Describe the error as Envoy's transcoder does for REST callers of our own API."""
    return json_format.MessageToJson(_status(error), always_print_fields_with_no_presence=True, indent=None)


def from_rpc_error(error: grpc.aio.AioRpcError, path: str) -> WeftError:
    """Rebuild the error that the other side raised, or name the one that its silence amounts to."""
    return _from_details(error) or _from_code(error, path)


def _status(error: WeftError) -> status_pb2.Status:
    status = status_pb2.Status(code=error.code.value[0], message=_cut(error.message, _MESSAGE_BYTES))
    for detail in _details(error):
        status.details.add().Pack(detail)
    return status


def _cut(text: str, size: int) -> str:
    raw = text.encode(errors="replace")
    return raw.decode() if len(raw) <= size else raw[: size - 3].decode(errors="ignore") + "…"


def _details(error: WeftError) -> Iterator[Message]:
    facts = {key: _cut(value, _ENTRY_BYTES) for key, value in islice(error.metadata.items(), _ENTRIES)}
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts)
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        yield retry
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations[:_ENTRIES]:
            bad.field_violations.add(
                field=_cut(violation.field, _ENTRY_BYTES),
                description=_cut(violation.description, _ENTRY_BYTES),
            )
        yield bad


def _from_details(error: grpc.aio.AioRpcError) -> WeftError | None:
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):
        return None
    if status is None:
        return None
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    for detail in status.details:
        any(detail.Unpack(target) for target in (info, retry, bad))
    if info.domain != DOMAIN or info.reason not in BY_REASON:
        return None
    return BY_REASON[info.reason](
        status.message,
        retry_after=_delay(retry),
        violations=[FieldViolation(v.field, v.description) for v in bad.field_violations],
        metadata=info.metadata,
    )


def _delay(retry: error_details_pb2.RetryInfo) -> timedelta | None:
    return retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None


def _from_code(error: grpc.aio.AioRpcError, path: str) -> WeftError:
    said = error.details() or "no details"
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            part = path.lstrip("/").partition("/")[0]
            return PartUnreachable(f"{path} could not be reached: {said}", metadata={"part": part})
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{path} did not answer in time.")
        case code:
            return InternalError(f"{path} failed with {code.name}: {said}")
