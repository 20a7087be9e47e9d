import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_NODE: _ClassVar[EventKind]
    EVENT_KIND_LOAD: _ClassVar[EventKind]
    EVENT_KIND_EVICTION: _ClassVar[EventKind]
    EVENT_KIND_SCALING: _ClassVar[EventKind]
    EVENT_KIND_REPLICA: _ClassVar[EventKind]
    EVENT_KIND_REFUSAL: _ClassVar[EventKind]
    EVENT_KIND_LEADER: _ClassVar[EventKind]
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_NODE: EventKind
EVENT_KIND_LOAD: EventKind
EVENT_KIND_EVICTION: EventKind
EVENT_KIND_SCALING: EventKind
EVENT_KIND_REPLICA: EventKind
EVENT_KIND_REFUSAL: EventKind
EVENT_KIND_LEADER: EventKind

class Event(_message.Message):
    __slots__ = ("id", "sequence", "time", "kind", "what", "why", "source", "model", "node", "replica_id", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    id: str
    sequence: int
    time: _timestamp_pb2.Timestamp
    kind: EventKind
    what: str
    why: str
    source: str
    model: str
    node: str
    replica_id: str
    details: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[str] = ..., sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[EventKind, str]] = ..., what: _Optional[str] = ..., why: _Optional[str] = ..., source: _Optional[str] = ..., model: _Optional[str] = ..., node: _Optional[str] = ..., replica_id: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...
