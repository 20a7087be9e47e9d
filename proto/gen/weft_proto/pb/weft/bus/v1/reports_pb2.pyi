import datetime

from google.protobuf import duration_pb2 as _duration_pb2
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

class PrincipalWork(_message.Message):
    __slots__ = ("principal", "generated_token_count", "prompt_token_count", "finished_count", "slot_ms", "in_flight_count", "running_token_count")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLOT_MS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    principal: str
    generated_token_count: int
    prompt_token_count: int
    finished_count: int
    slot_ms: int
    in_flight_count: int
    running_token_count: int
    def __init__(self, principal: _Optional[str] = ..., generated_token_count: _Optional[int] = ..., prompt_token_count: _Optional[int] = ..., finished_count: _Optional[int] = ..., slot_ms: _Optional[int] = ..., in_flight_count: _Optional[int] = ..., running_token_count: _Optional[int] = ...) -> None: ...

class ReplicaLoad(_message.Message):
    __slots__ = ("replica_id", "in_flight_count", "queued_count", "picks", "works", "keep_alive", "stalled", "started_count")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PICKS_FIELD_NUMBER: _ClassVar[int]
    WORKS_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    STALLED_FIELD_NUMBER: _ClassVar[int]
    STARTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    in_flight_count: int
    queued_count: int
    picks: _containers.RepeatedCompositeFieldContainer[SeenPicks]
    works: _containers.RepeatedCompositeFieldContainer[PrincipalWork]
    keep_alive: _duration_pb2.Duration
    stalled: _duration_pb2.Duration
    started_count: int
    def __init__(self, replica_id: _Optional[str] = ..., in_flight_count: _Optional[int] = ..., queued_count: _Optional[int] = ..., picks: _Optional[_Iterable[_Union[SeenPicks, _Mapping]]] = ..., works: _Optional[_Iterable[_Union[PrincipalWork, _Mapping]]] = ..., keep_alive: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stalled: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., started_count: _Optional[int] = ...) -> None: ...

class LoadReport(_message.Message):
    __slots__ = ("node_id", "sequence", "replicas", "agent_id", "gone_replica_ids", "full_devices")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    GONE_REPLICA_IDS_FIELD_NUMBER: _ClassVar[int]
    FULL_DEVICES_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    sequence: int
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaLoad]
    agent_id: str
    gone_replica_ids: _containers.RepeatedScalarFieldContainer[str]
    full_devices: _containers.RepeatedCompositeFieldContainer[FullDevice]
    def __init__(self, node_id: _Optional[str] = ..., sequence: _Optional[int] = ..., replicas: _Optional[_Iterable[_Union[ReplicaLoad, _Mapping]]] = ..., agent_id: _Optional[str] = ..., gone_replica_ids: _Optional[_Iterable[str]] = ..., full_devices: _Optional[_Iterable[_Union[FullDevice, _Mapping]]] = ...) -> None: ...

class FullDevice(_message.Message):
    __slots__ = ("device_id", "use", "excess_bytes")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    EXCESS_BYTES_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    use: float
    excess_bytes: int
    def __init__(self, device_id: _Optional[str] = ..., use: _Optional[float] = ..., excess_bytes: _Optional[int] = ...) -> None: ...

class FleetChanged(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class ModelQueue(_message.Message):
    __slots__ = ("model", "waiting_count")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    model: str
    waiting_count: int
    def __init__(self, model: _Optional[str] = ..., waiting_count: _Optional[int] = ...) -> None: ...

class WaitingReport(_message.Message):
    __slots__ = ("router_id", "queues")
    ROUTER_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    router_id: str
    queues: _containers.RepeatedCompositeFieldContainer[ModelQueue]
    def __init__(self, router_id: _Optional[str] = ..., queues: _Optional[_Iterable[_Union[ModelQueue, _Mapping]]] = ...) -> None: ...
