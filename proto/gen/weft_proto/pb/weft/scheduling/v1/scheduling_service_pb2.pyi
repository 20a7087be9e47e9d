import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
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

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_SERVE: _ClassVar[Outcome]
    OUTCOME_JOIN: _ClassVar[Outcome]
    OUTCOME_PLACE: _ClassVar[Outcome]
    OUTCOME_EVICT: _ClassVar[Outcome]
    OUTCOME_WAIT: _ClassVar[Outcome]
    OUTCOME_REFUSE: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_SERVE: Outcome
OUTCOME_JOIN: Outcome
OUTCOME_PLACE: Outcome
OUTCOME_EVICT: Outcome
OUTCOME_WAIT: Outcome
OUTCOME_REFUSE: Outcome

class ListPoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "next_page_token")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Policy]
    next_page_token: str
    def __init__(self, policies: _Optional[_Iterable[_Union[_policy_pb2.Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: _policy_pb2.Policy
    def __init__(self, policy: _Optional[_Union[_policy_pb2.Policy, _Mapping]] = ...) -> None: ...

class SetPolicyRequest(_message.Message):
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
    warm_windows: _containers.RepeatedCompositeFieldContainer[_policy_pb2.WarmWindow]
    prewarm: bool
    def __init__(self, model_name: _Optional[str] = ..., node_selector: _Optional[_Mapping[str, str]] = ..., min_replicas: _Optional[int] = ..., max_replicas: _Optional[int] = ..., spread_all: _Optional[bool] = ..., route_policy: _Optional[str] = ..., balance_abs_threshold: _Optional[int] = ..., balance_rel_threshold: _Optional[float] = ..., min_prefix_match: _Optional[float] = ..., keep_alive: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., warm_windows: _Optional[_Iterable[_Union[_policy_pb2.WarmWindow, _Mapping]]] = ..., prewarm: _Optional[bool] = ...) -> None: ...

class SetPolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: _policy_pb2.Policy
    def __init__(self, policy: _Optional[_Union[_policy_pb2.Policy, _Mapping]] = ...) -> None: ...

class DeletePolicyRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class DeletePolicyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLeasesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Lease(_message.Message):
    __slots__ = ("name", "holder", "epoch", "remaining", "refused_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    REFUSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    holder: str
    epoch: int
    remaining: _duration_pb2.Duration
    refused_count: int
    def __init__(self, name: _Optional[str] = ..., holder: _Optional[str] = ..., epoch: _Optional[int] = ..., remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., refused_count: _Optional[int] = ...) -> None: ...

class ListLeasesResponse(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    def __init__(self, leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ...) -> None: ...

class ListQueuesRequest(_message.Message):
    __slots__ = ("local_only",)
    LOCAL_ONLY_FIELD_NUMBER: _ClassVar[int]
    local_only: bool
    def __init__(self, local_only: _Optional[bool] = ...) -> None: ...

class WaitingPrincipal(_message.Message):
    __slots__ = ("principal", "waiting_count", "longest")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    LONGEST_FIELD_NUMBER: _ClassVar[int]
    principal: str
    waiting_count: int
    longest: _duration_pb2.Duration
    def __init__(self, principal: _Optional[str] = ..., waiting_count: _Optional[int] = ..., longest: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("model", "waiting_count", "slot_count", "service_time", "principals")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIME_FIELD_NUMBER: _ClassVar[int]
    PRINCIPALS_FIELD_NUMBER: _ClassVar[int]
    model: str
    waiting_count: int
    slot_count: int
    service_time: _duration_pb2.Duration
    principals: _containers.RepeatedCompositeFieldContainer[WaitingPrincipal]
    def __init__(self, model: _Optional[str] = ..., waiting_count: _Optional[int] = ..., slot_count: _Optional[int] = ..., service_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., principals: _Optional[_Iterable[_Union[WaitingPrincipal, _Mapping]]] = ...) -> None: ...

class ListQueuesResponse(_message.Message):
    __slots__ = ("queues",)
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    def __init__(self, queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ...) -> None: ...

class WhatIf(_message.Message):
    __slots__ = ("add_nodes", "remove_nodes", "set_policies")
    ADD_NODES_FIELD_NUMBER: _ClassVar[int]
    REMOVE_NODES_FIELD_NUMBER: _ClassVar[int]
    SET_POLICIES_FIELD_NUMBER: _ClassVar[int]
    add_nodes: _containers.RepeatedCompositeFieldContainer[_node_pb2.Node]
    remove_nodes: _containers.RepeatedScalarFieldContainer[str]
    set_policies: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Policy]
    def __init__(self, add_nodes: _Optional[_Iterable[_Union[_node_pb2.Node, _Mapping]]] = ..., remove_nodes: _Optional[_Iterable[str]] = ..., set_policies: _Optional[_Iterable[_Union[_policy_pb2.Policy, _Mapping]]] = ...) -> None: ...

class ExplainPlacementRequest(_message.Message):
    __slots__ = ("model_name", "replica_count", "node", "what_if")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    REPLICA_COUNT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    replica_count: int
    node: str
    what_if: WhatIf
    def __init__(self, model_name: _Optional[str] = ..., replica_count: _Optional[int] = ..., node: _Optional[str] = ..., what_if: _Optional[_Union[WhatIf, _Mapping]] = ...) -> None: ...

class PlacementDecision(_message.Message):
    __slots__ = ("outcome", "node", "replica_index", "shares", "replicas", "reason", "retry_after", "considered_count", "excluded_counts", "yielded")
    class ExcludedCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_INDEX_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    CONSIDERED_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_COUNTS_FIELD_NUMBER: _ClassVar[int]
    YIELDED_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    node: str
    replica_index: int
    shares: _containers.RepeatedCompositeFieldContainer[_replica_pb2.DeviceShare]
    replicas: _containers.RepeatedCompositeFieldContainer[_replica_pb2.Replica]
    reason: str
    retry_after: _duration_pb2.Duration
    considered_count: int
    excluded_counts: _containers.ScalarMap[str, int]
    yielded: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., node: _Optional[str] = ..., replica_index: _Optional[int] = ..., shares: _Optional[_Iterable[_Union[_replica_pb2.DeviceShare, _Mapping]]] = ..., replicas: _Optional[_Iterable[_Union[_replica_pb2.Replica, _Mapping]]] = ..., reason: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., considered_count: _Optional[int] = ..., excluded_counts: _Optional[_Mapping[str, int]] = ..., yielded: _Optional[_Iterable[str]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("node", "reason", "ranks", "replicas")
    class ReplicasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    node: str
    reason: str
    ranks: _containers.RepeatedScalarFieldContainer[float]
    replicas: _containers.ScalarMap[str, str]
    def __init__(self, node: _Optional[str] = ..., reason: _Optional[str] = ..., ranks: _Optional[_Iterable[float]] = ..., replicas: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExplainPlacementResponse(_message.Message):
    __slots__ = ("decisions", "candidates", "sequence", "need_bytes", "rank_names", "fits", "warmth")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RANK_NAMES_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    WARMTH_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[PlacementDecision]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    sequence: int
    need_bytes: int
    rank_names: _containers.RepeatedScalarFieldContainer[str]
    fits: bool
    warmth: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, decisions: _Optional[_Iterable[_Union[PlacementDecision, _Mapping]]] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., sequence: _Optional[int] = ..., need_bytes: _Optional[int] = ..., rank_names: _Optional[_Iterable[str]] = ..., fits: _Optional[bool] = ..., warmth: _Optional[_Iterable[str]] = ...) -> None: ...
