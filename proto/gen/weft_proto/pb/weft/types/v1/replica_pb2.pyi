import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplicaState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLICA_STATE_UNSPECIFIED: _ClassVar[ReplicaState]
    REPLICA_STATE_LOADING: _ClassVar[ReplicaState]
    REPLICA_STATE_READY: _ClassVar[ReplicaState]
    REPLICA_STATE_UNLOADING: _ClassVar[ReplicaState]
    REPLICA_STATE_FAILED: _ClassVar[ReplicaState]
REPLICA_STATE_UNSPECIFIED: ReplicaState
REPLICA_STATE_LOADING: ReplicaState
REPLICA_STATE_READY: ReplicaState
REPLICA_STATE_UNLOADING: ReplicaState
REPLICA_STATE_FAILED: ReplicaState

class DeviceShare(_message.Message):
    __slots__ = ("device_id", "size_bytes")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    size_bytes: int
    def __init__(self, device_id: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("id", "model", "index", "revision", "node_id", "address", "state", "slot_count", "max_queue_count", "memory_bytes", "pid", "shares", "awaits_memory", "load_duration", "in_flight_count", "problem", "unreachable")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    AWAITS_MEMORY_FIELD_NUMBER: _ClassVar[int]
    LOAD_DURATION_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    index: int
    revision: str
    node_id: str
    address: str
    state: ReplicaState
    slot_count: int
    max_queue_count: int
    memory_bytes: int
    pid: int
    shares: _containers.RepeatedCompositeFieldContainer[DeviceShare]
    awaits_memory: bool
    load_duration: _duration_pb2.Duration
    in_flight_count: int
    problem: str
    unreachable: str
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., index: _Optional[int] = ..., revision: _Optional[str] = ..., node_id: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[_Union[ReplicaState, str]] = ..., slot_count: _Optional[int] = ..., max_queue_count: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., pid: _Optional[int] = ..., shares: _Optional[_Iterable[_Union[DeviceShare, _Mapping]]] = ..., awaits_memory: _Optional[bool] = ..., load_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., in_flight_count: _Optional[int] = ..., problem: _Optional[str] = ..., unreachable: _Optional[str] = ...) -> None: ...
