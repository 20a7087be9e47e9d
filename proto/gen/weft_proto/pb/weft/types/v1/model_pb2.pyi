from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelPurpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_PURPOSE_UNSPECIFIED: _ClassVar[ModelPurpose]
    MODEL_PURPOSE_EMBEDDING: _ClassVar[ModelPurpose]
    MODEL_PURPOSE_RERANKING: _ClassVar[ModelPurpose]
MODEL_PURPOSE_UNSPECIFIED: ModelPurpose
MODEL_PURPOSE_EMBEDDING: ModelPurpose
MODEL_PURPOSE_RERANKING: ModelPurpose

class Model(_message.Message):
    __slots__ = ("name", "backend", "revision", "path", "context_size", "thread_count", "slot_count", "max_queue_count", "options", "size_bytes", "created_seconds", "kv_bytes", "pinned", "concurrency_groups", "device_limit", "can_spill", "cpu_limit", "memory_limit_bytes", "purpose", "half_bytes", "about")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_SIZE_FIELD_NUMBER: _ClassVar[int]
    THREAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KV_BYTES_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_GROUPS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CAN_SPILL_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    HALF_BYTES_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    backend: str
    revision: str
    path: str
    context_size: int
    thread_count: int
    slot_count: int
    max_queue_count: int
    options: _containers.ScalarMap[str, str]
    size_bytes: int
    created_seconds: int
    kv_bytes: int
    pinned: bool
    concurrency_groups: _containers.RepeatedScalarFieldContainer[str]
    device_limit: int
    can_spill: bool
    cpu_limit: float
    memory_limit_bytes: int
    purpose: ModelPurpose
    half_bytes: int
    about: ModelAbout
    def __init__(self, name: _Optional[str] = ..., backend: _Optional[str] = ..., revision: _Optional[str] = ..., path: _Optional[str] = ..., context_size: _Optional[int] = ..., thread_count: _Optional[int] = ..., slot_count: _Optional[int] = ..., max_queue_count: _Optional[int] = ..., options: _Optional[_Mapping[str, str]] = ..., size_bytes: _Optional[int] = ..., created_seconds: _Optional[int] = ..., kv_bytes: _Optional[int] = ..., pinned: _Optional[bool] = ..., concurrency_groups: _Optional[_Iterable[str]] = ..., device_limit: _Optional[int] = ..., can_spill: _Optional[bool] = ..., cpu_limit: _Optional[float] = ..., memory_limit_bytes: _Optional[int] = ..., purpose: _Optional[_Union[ModelPurpose, str]] = ..., half_bytes: _Optional[int] = ..., about: _Optional[_Union[ModelAbout, _Mapping]] = ...) -> None: ...

class ModelAbout(_message.Message):
    __slots__ = ("format", "architecture", "parameter_size", "quantization", "embedding_size", "trained_context_size", "thinks")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_SIZE_FIELD_NUMBER: _ClassVar[int]
    QUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SIZE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_CONTEXT_SIZE_FIELD_NUMBER: _ClassVar[int]
    THINKS_FIELD_NUMBER: _ClassVar[int]
    format: str
    architecture: str
    parameter_size: str
    quantization: str
    embedding_size: int
    trained_context_size: int
    thinks: bool
    def __init__(self, format: _Optional[str] = ..., architecture: _Optional[str] = ..., parameter_size: _Optional[str] = ..., quantization: _Optional[str] = ..., embedding_size: _Optional[int] = ..., trained_context_size: _Optional[int] = ..., thinks: _Optional[bool] = ...) -> None: ...
