import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft_proto.pb.weft.types.v1 import model_pb2 as _model_pb2
from weft_proto.pb.weft.types.v1 import node_pb2 as _node_pb2
from weft_proto.pb.weft.types.v1 import policy_pb2 as _policy_pb2
from weft_proto.pb.weft.types.v1 import replica_pb2 as _replica_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOAD_STATE_UNSPECIFIED: _ClassVar[LoadState]
    LOAD_STATE_PENDING: _ClassVar[LoadState]
    LOAD_STATE_INSTALLING: _ClassVar[LoadState]
    LOAD_STATE_STAGING: _ClassVar[LoadState]
    LOAD_STATE_LOADING: _ClassVar[LoadState]
    LOAD_STATE_FAILED: _ClassVar[LoadState]
LOAD_STATE_UNSPECIFIED: LoadState
LOAD_STATE_PENDING: LoadState
LOAD_STATE_INSTALLING: LoadState
LOAD_STATE_STAGING: LoadState
LOAD_STATE_LOADING: LoadState
LOAD_STATE_FAILED: LoadState

class RouteRequest(_message.Message):
    __slots__ = ("model", "max_wait", "suspect_replica_ids")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    SUSPECT_REPLICA_IDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    max_wait: _duration_pb2.Duration
    suspect_replica_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., max_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., suspect_replica_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RouteResponse(_message.Message):
    __slots__ = ("replicas", "sequence", "nodes")
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    replicas: _containers.RepeatedCompositeFieldContainer[_replica_pb2.Replica]
    sequence: int
    nodes: _containers.RepeatedCompositeFieldContainer[_node_pb2.Node]
    def __init__(self, replicas: _Optional[_Iterable[_Union[_replica_pb2.Replica, _Mapping]]] = ..., sequence: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[_node_pb2.Node, _Mapping]]] = ...) -> None: ...

class AcquireSlotRequest(_message.Message):
    __slots__ = ("model", "principal", "weight", "priority", "max_wait", "gateway_id", "max_token_count", "stale_accepted", "forwarded")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    STALE_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    model: str
    principal: str
    weight: float
    priority: int
    max_wait: _duration_pb2.Duration
    gateway_id: str
    max_token_count: int
    stale_accepted: bool
    forwarded: bool
    def __init__(self, model: _Optional[str] = ..., principal: _Optional[str] = ..., weight: _Optional[float] = ..., priority: _Optional[int] = ..., max_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., gateway_id: _Optional[str] = ..., max_token_count: _Optional[int] = ..., stale_accepted: _Optional[bool] = ..., forwarded: _Optional[bool] = ...) -> None: ...

class AcquireSlotResponse(_message.Message):
    __slots__ = ("replica", "fallback", "nodes", "pick", "position", "waited", "sequence")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    PICK_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    WAITED_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    replica: _replica_pb2.Replica
    fallback: _replica_pb2.Replica
    nodes: _containers.RepeatedCompositeFieldContainer[_node_pb2.Node]
    pick: str
    position: int
    waited: _duration_pb2.Duration
    sequence: int
    def __init__(self, replica: _Optional[_Union[_replica_pb2.Replica, _Mapping]] = ..., fallback: _Optional[_Union[_replica_pb2.Replica, _Mapping]] = ..., nodes: _Optional[_Iterable[_Union[_node_pb2.Node, _Mapping]]] = ..., pick: _Optional[str] = ..., position: _Optional[int] = ..., waited: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class WatchFleetRequest(_message.Message):
    __slots__ = ("gateway_id", "after_sequence", "stale_accepted")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STALE_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    after_sequence: int
    stale_accepted: bool
    def __init__(self, gateway_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., stale_accepted: _Optional[bool] = ...) -> None: ...

class NodeHeard(_message.Message):
    __slots__ = ("node_id", "age")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    age: _duration_pb2.Duration
    def __init__(self, node_id: _Optional[str] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchFleetResponse(_message.Message):
    __slots__ = ("sequence", "full", "nodes", "replicas", "models", "removed_node_ids", "removed_replica_ids", "removed_models", "heard", "fleet_id", "policies", "removed_policies", "cut_off", "keep_alive")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_NODE_IDS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_REPLICA_IDS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_MODELS_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_POLICIES_FIELD_NUMBER: _ClassVar[int]
    CUT_OFF_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    full: bool
    nodes: _containers.RepeatedCompositeFieldContainer[_node_pb2.Node]
    replicas: _containers.RepeatedCompositeFieldContainer[_replica_pb2.Replica]
    models: _containers.RepeatedCompositeFieldContainer[_model_pb2.Model]
    removed_node_ids: _containers.RepeatedScalarFieldContainer[str]
    removed_replica_ids: _containers.RepeatedScalarFieldContainer[str]
    removed_models: _containers.RepeatedScalarFieldContainer[str]
    heard: _containers.RepeatedCompositeFieldContainer[NodeHeard]
    fleet_id: str
    policies: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Policy]
    removed_policies: _containers.RepeatedScalarFieldContainer[str]
    cut_off: bool
    keep_alive: _duration_pb2.Duration
    def __init__(self, sequence: _Optional[int] = ..., full: _Optional[bool] = ..., nodes: _Optional[_Iterable[_Union[_node_pb2.Node, _Mapping]]] = ..., replicas: _Optional[_Iterable[_Union[_replica_pb2.Replica, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[_model_pb2.Model, _Mapping]]] = ..., removed_node_ids: _Optional[_Iterable[str]] = ..., removed_replica_ids: _Optional[_Iterable[str]] = ..., removed_models: _Optional[_Iterable[str]] = ..., heard: _Optional[_Iterable[_Union[NodeHeard, _Mapping]]] = ..., fleet_id: _Optional[str] = ..., policies: _Optional[_Iterable[_Union[_policy_pb2.Policy, _Mapping]]] = ..., removed_policies: _Optional[_Iterable[str]] = ..., cut_off: _Optional[bool] = ..., keep_alive: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LoadStatus(_message.Message):
    __slots__ = ("model", "state", "node", "progress", "eta", "total_bytes", "message", "start_time", "progress_time", "replica_id", "staged_bytes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_TIME_FIELD_NUMBER: _ClassVar[int]
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    STAGED_BYTES_FIELD_NUMBER: _ClassVar[int]
    model: str
    state: LoadState
    node: str
    progress: float
    eta: _duration_pb2.Duration
    total_bytes: int
    message: str
    start_time: _timestamp_pb2.Timestamp
    progress_time: _timestamp_pb2.Timestamp
    replica_id: str
    staged_bytes: int
    def __init__(self, model: _Optional[str] = ..., state: _Optional[_Union[LoadState, str]] = ..., node: _Optional[str] = ..., progress: _Optional[float] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total_bytes: _Optional[int] = ..., message: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., progress_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., replica_id: _Optional[str] = ..., staged_bytes: _Optional[int] = ...) -> None: ...

class GetLoadStatusRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetLoadStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: LoadStatus
    def __init__(self, status: _Optional[_Union[LoadStatus, _Mapping]] = ...) -> None: ...
