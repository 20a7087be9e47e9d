from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_REQUEST: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_API_KEY: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_TOKEN: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_IN_MESH: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_TICKET: _ClassVar[ErrorReason]
    ERROR_REASON_NO_CAPACITY: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_LOADING: _ClassVar[ErrorReason]
    ERROR_REASON_LOAD_FAILED: _ClassVar[ErrorReason]
    ERROR_REASON_REPLICA_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_PART_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_CONTEXT_LENGTH_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_NODE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_NODE_STATE: _ClassVar[ErrorReason]
    ERROR_REASON_ENGINE_FAILED: _ClassVar[ErrorReason]
    ERROR_REASON_REPLICA_CLOSING: _ClassVar[ErrorReason]
    ERROR_REASON_DEADLINE_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_UNKNOWN_PATH: _ClassVar[ErrorReason]
    ERROR_REASON_BODY_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    ERROR_REASON_POLICY_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_LABEL_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_LOADING: _ClassVar[ErrorReason]
    ERROR_REASON_QUEUE_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_WAIT_TOO_LONG: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_INVALID_REQUEST: ErrorReason
ERROR_REASON_MODEL_NOT_FOUND: ErrorReason
ERROR_REASON_INVALID_API_KEY: ErrorReason
ERROR_REASON_INVALID_TOKEN: ErrorReason
ERROR_REASON_NOT_IN_MESH: ErrorReason
ERROR_REASON_INVALID_TICKET: ErrorReason
ERROR_REASON_NO_CAPACITY: ErrorReason
ERROR_REASON_MODEL_LOADING: ErrorReason
ERROR_REASON_LOAD_FAILED: ErrorReason
ERROR_REASON_REPLICA_FULL: ErrorReason
ERROR_REASON_PART_UNAVAILABLE: ErrorReason
ERROR_REASON_CONTEXT_LENGTH_EXCEEDED: ErrorReason
ERROR_REASON_NODE_NOT_FOUND: ErrorReason
ERROR_REASON_NODE_STATE: ErrorReason
ERROR_REASON_ENGINE_FAILED: ErrorReason
ERROR_REASON_REPLICA_CLOSING: ErrorReason
ERROR_REASON_DEADLINE_EXCEEDED: ErrorReason
ERROR_REASON_UNKNOWN_PATH: ErrorReason
ERROR_REASON_BODY_TOO_LARGE: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
ERROR_REASON_POLICY_NOT_FOUND: ErrorReason
ERROR_REASON_LABEL_NOT_FOUND: ErrorReason
ERROR_REASON_NOT_LOADING: ErrorReason
ERROR_REASON_QUEUE_FULL: ErrorReason
ERROR_REASON_WAIT_TOO_LONG: ErrorReason
