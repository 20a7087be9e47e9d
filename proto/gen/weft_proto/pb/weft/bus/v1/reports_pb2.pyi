from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SeenPicks(_message.Message):
    __slots__ = ("gateway_id", "contiguous", "beyond")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    CONTIGUOUS_FIELD_NUMBER: _ClassVar[int]
    BEYOND_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    contiguous: int
    beyond: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, gateway_id: _Optional[str] = ..., contiguous: _Optional[int] = ..., beyond: _Optional[_Iterable[int]] = ...) -> None: ...

class ReplicaLoad(_message.Message):
    __slots__ = ("replica_id", "in_flight_count", "queued_count", "picks")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PICKS_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    in_flight_count: int
    queued_count: int
    picks: _containers.RepeatedCompositeFieldContainer[SeenPicks]
    def __init__(self, replica_id: _Optional[str] = ..., in_flight_count: _Optional[int] = ..., queued_count: _Optional[int] = ..., picks: _Optional[_Iterable[_Union[SeenPicks, _Mapping]]] = ...) -> None: ...

class LoadReport(_message.Message):
    __slots__ = ("node_id", "sequence", "replicas", "agent_id", "gone_replica_ids")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    GONE_REPLICA_IDS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    sequence: int
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaLoad]
    agent_id: str
    gone_replica_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node_id: _Optional[str] = ..., sequence: _Optional[int] = ..., replicas: _Optional[_Iterable[_Union[ReplicaLoad, _Mapping]]] = ..., agent_id: _Optional[str] = ..., gone_replica_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class FleetChanged(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...
