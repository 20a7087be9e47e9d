"""Every failure that Weft tells its callers about, and what it becomes on the wire.

WeftError
  x InvalidRequest          x ContextLengthExceeded   x BodyTooLarge
  x ModelNotFound           x NodeNotFound            x UnknownPath
  x MethodNotSupported
  x PolicyNotFound          x LabelNotFound           x NotLoading
  x InvalidApiKey           x InvalidToken
  x NotInMesh               x InvalidTicket
  x NoCapacity              x ModelLoading            x LoadFailed
  x ReplicaFull             x ReplicaClosing          x PartUnavailable
  x NodeStateError          x DeadlineExceeded        x EngineFailed      x InternalError

The reasons are documented, each with an example, in proto/weft/errors/v1/error_reason.proto.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import grpc

DOMAIN = "weft"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request and what is wrong with it; `field` is a path such as `messages.0.content`."""

    field: str
    description: str


class WeftError(Exception):
    """A failure with a reason; the message says what happened and what to do about it."""

    reason: ClassVar[str]
    code: ClassVar[grpc.StatusCode]
    http_status: ClassVar[int]

    def __init__(
        self,
        message: str,
        *,
        retry_after: timedelta | None = None,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})


class InvalidRequest(WeftError):
    """The request has a field that cannot be used."""

    reason, code, http_status = "INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT, 400


class ContextLengthExceeded(WeftError):
    """The prompt and the answer do not fit the model's context."""

    reason, code, http_status = "CONTEXT_LENGTH_EXCEEDED", grpc.StatusCode.INVALID_ARGUMENT, 400


class BodyTooLarge(WeftError):
    """The body is larger than the limit."""

    reason, code, http_status = "BODY_TOO_LARGE", grpc.StatusCode.RESOURCE_EXHAUSTED, 413


class ModelNotFound(WeftError):
    """No model of that name is in the catalog."""

    reason, code, http_status = "MODEL_NOT_FOUND", grpc.StatusCode.NOT_FOUND, 404


class NodeNotFound(WeftError):
    """The node is unknown; its worker registers again."""

    reason, code, http_status = "NODE_NOT_FOUND", grpc.StatusCode.NOT_FOUND, 404


class PolicyNotFound(WeftError):
    """The model has no scheduling policy."""

    reason, code, http_status = "POLICY_NOT_FOUND", grpc.StatusCode.NOT_FOUND, 404


class LabelNotFound(WeftError):
    """No admin gave the node this label."""

    reason, code, http_status = "LABEL_NOT_FOUND", grpc.StatusCode.NOT_FOUND, 404


class NotLoading(WeftError):
    """No load of the model is under way."""

    reason, code, http_status = "NOT_LOADING", grpc.StatusCode.NOT_FOUND, 404


class UnknownPath(WeftError):
    """The path or rpc does not exist."""

    reason, code, http_status = "UNKNOWN_PATH", grpc.StatusCode.NOT_FOUND, 404


class MethodNotSupported(WeftError):
    """The path exists and takes another HTTP method."""

    reason, code, http_status = "METHOD_NOT_SUPPORTED", grpc.StatusCode.UNIMPLEMENTED, 405


class InvalidApiKey(WeftError):
    """The API key is missing or unknown."""

    reason, code, http_status = "INVALID_API_KEY", grpc.StatusCode.UNAUTHENTICATED, 401


class InvalidToken(WeftError):
    """The registration token or node token is missing or wrong."""

    reason, code, http_status = "INVALID_TOKEN", grpc.StatusCode.UNAUTHENTICATED, 401


class NotInMesh(WeftError):
    """The call did not come from inside the mesh."""

    reason, code, http_status = "NOT_IN_MESH", grpc.StatusCode.PERMISSION_DENIED, 403


class InvalidTicket(WeftError):
    """The ticket is missing, expired, forged or for another replica."""

    reason, code, http_status = "INVALID_TICKET", grpc.StatusCode.PERMISSION_DENIED, 403


class NoCapacity(WeftError):
    """No node can take the model now."""

    reason, code, http_status = "NO_CAPACITY", grpc.StatusCode.UNAVAILABLE, 503


class ModelLoading(WeftError):
    """The model is being loaded and the caller's patience ran out."""

    reason, code, http_status = "MODEL_LOADING", grpc.StatusCode.UNAVAILABLE, 503


class LoadFailed(WeftError):
    """The backend could not load the model; the message holds its own words."""

    reason, code, http_status = "LOAD_FAILED", grpc.StatusCode.UNAVAILABLE, 503


class ReplicaFull(WeftError):
    """Every slot and every place in the queue is taken."""

    reason, code, http_status = "REPLICA_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED, 429


class QueueFull(WeftError):
    """Too many requests wait for the model already."""

    reason, code, http_status = "QUEUE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED, 429


class WaitTooLong(WeftError):
    """A slot of the model will not be free in time."""

    reason, code, http_status = "WAIT_TOO_LONG", grpc.StatusCode.RESOURCE_EXHAUSTED, 429


class ReplicaClosing(WeftError):
    """The replica stops or has lost its agent and takes no new work."""

    reason, code, http_status = "REPLICA_CLOSING", grpc.StatusCode.UNAVAILABLE, 503


class PartUnavailable(WeftError):
    """A part that this call needs cannot be reached; `metadata["part"]` names it."""

    reason, code, http_status = "PART_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE, 503


class PartUnreachable(PartUnavailable):
    """Nobody answered a call at all, so another instance of that part may; told onwards, it is a missing part."""


class NodeStateError(WeftError):
    """The node may not do this in its state."""

    reason, code, http_status = "NODE_STATE", grpc.StatusCode.FAILED_PRECONDITION, 409


class FileMissing(WeftError):
    """A file, or a chunk of it, is not on the worker."""

    reason, code, http_status = "FILE_NOT_FOUND", grpc.StatusCode.NOT_FOUND, 404


class ChecksumMismatch(WeftError):
    """Bytes are not what their manifest says."""

    reason, code, http_status = "CHECKSUM_MISMATCH", grpc.StatusCode.DATA_LOSS, 500


class DiskFull(WeftError):
    """The disk, or the part of it that models may take, is full."""

    reason, code, http_status = "DISK_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED, 507


class SourceUnavailable(WeftError):
    """What a file was to be read from is gone, silent, or lacks it."""

    reason, code, http_status = "SOURCE_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE, 503


class ModelInUse(WeftError):
    """The files of a model cannot go while a replica uses them."""

    reason, code, http_status = "MODEL_IN_USE", grpc.StatusCode.FAILED_PRECONDITION, 409


class LogNotFound(WeftError):
    """No process of the model has run there lately."""

    reason, code, http_status = "LOG_NOT_FOUND", grpc.StatusCode.NOT_FOUND, 404


class DeadlineExceeded(WeftError):
    """The request's deadline passed."""

    reason, code, http_status = "DEADLINE_EXCEEDED", grpc.StatusCode.DEADLINE_EXCEEDED, 504


class EngineFailed(WeftError):
    """The engine failed while it worked; the message holds its own words."""

    reason, code, http_status = "ENGINE_FAILED", grpc.StatusCode.INTERNAL, 500


class InternalError(WeftError):
    """A part failed in a way that it did not foresee."""

    reason, code, http_status = "INTERNAL", grpc.StatusCode.INTERNAL, 500


BY_REASON: Mapping[str, type[WeftError]] = {kind.reason: kind for kind in WeftError.__subclasses__()}
