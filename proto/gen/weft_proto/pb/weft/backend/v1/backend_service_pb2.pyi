from weft_proto.pb.weft.types.v1 import model_pb2 as _model_pb2
from weft_proto.pb.weft.types.v1 import replica_pb2 as _replica_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.Model
    def __init__(self, model: _Optional[_Union[_model_pb2.Model, _Mapping]] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("fraction", "replica")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    fraction: float
    replica: _replica_pb2.Replica
    def __init__(self, fraction: _Optional[float] = ..., replica: _Optional[_Union[_replica_pb2.Replica, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("replica", "in_flight_count", "queued_count", "started_count", "ended_count", "generated_token_count")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_COUNT_FIELD_NUMBER: _ClassVar[int]
    STARTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    replica: _replica_pb2.Replica
    in_flight_count: int
    queued_count: int
    started_count: int
    ended_count: int
    generated_token_count: int
    def __init__(self, replica: _Optional[_Union[_replica_pb2.Replica, _Mapping]] = ..., in_flight_count: _Optional[int] = ..., queued_count: _Optional[int] = ..., started_count: _Optional[int] = ..., ended_count: _Optional[int] = ..., generated_token_count: _Optional[int] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
