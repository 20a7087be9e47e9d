import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WarmWindow(_message.Message):
    __slots__ = ("cron", "duration", "min_replicas", "time_zone")
    CRON_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    cron: str
    duration: _duration_pb2.Duration
    min_replicas: int
    time_zone: str
    def __init__(self, cron: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_replicas: _Optional[int] = ..., time_zone: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("model_name", "node_selector", "min_replicas", "max_replicas", "spread_all", "route_policy", "balance_abs_threshold", "balance_rel_threshold", "min_prefix_match", "keep_alive", "warm_windows", "prewarm")
    class NodeSelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MAX_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    SPREAD_ALL_FIELD_NUMBER: _ClassVar[int]
    ROUTE_POLICY_FIELD_NUMBER: _ClassVar[int]
    BALANCE_ABS_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    BALANCE_REL_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MIN_PREFIX_MATCH_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    WARM_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    PREWARM_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    node_selector: _containers.ScalarMap[str, str]
    min_replicas: int
    max_replicas: int
    spread_all: bool
    route_policy: str
    balance_abs_threshold: int
    balance_rel_threshold: float
    min_prefix_match: float
    keep_alive: _duration_pb2.Duration
    warm_windows: _containers.RepeatedCompositeFieldContainer[WarmWindow]
    prewarm: bool
    def __init__(self, model_name: _Optional[str] = ..., node_selector: _Optional[_Mapping[str, str]] = ..., min_replicas: _Optional[int] = ..., max_replicas: _Optional[int] = ..., spread_all: _Optional[bool] = ..., route_policy: _Optional[str] = ..., balance_abs_threshold: _Optional[int] = ..., balance_rel_threshold: _Optional[float] = ..., min_prefix_match: _Optional[float] = ..., keep_alive: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., warm_windows: _Optional[_Iterable[_Union[WarmWindow, _Mapping]]] = ..., prewarm: _Optional[bool] = ...) -> None: ...
