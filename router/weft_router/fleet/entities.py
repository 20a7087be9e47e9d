"""What the fleet consists of, as frozen values: nodes, replicas, models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from weft_router.fleet.about import UNTOLD, About
from weft_router.fleet.conditions import Condition
from weft_router.fleet.load_job import LoadJob
from weft_router.fleet.policy import Policy


class NodeState(StrEnum):
    """Where a node stands in its life cycle; see weft.types.v1.NodeState."""

    PENDING = "pending"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    OFFLINE = "offline"
    DRAINING = "draining"


class ModelPurpose(StrEnum):
    """What a model is for; see weft.types.v1.ModelPurpose."""

    UNSPECIFIED = "unspecified"
    EMBEDDING = "embedding"
    RERANKING = "reranking"


class ReplicaState(StrEnum):
    """Where a replica stands in its life cycle; see weft.types.v1.ReplicaState."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Share:
    """Memory of one device that a replica holds, or will hold once it is loaded."""

    device_id: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Device:
    """Memory that models are placed on; a total of 0 bytes means unknown."""

    id: str
    name: str
    vendor: str
    total_bytes: int
    free_bytes: int
    compute_capability: str = ""
    # What it has, of which models may use `total_bytes`; 0 means unknown.
    capacity_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    """Where a node keeps model files; a total of 0 bytes means unknown."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that runs replicas; `approved` outlives its states, so that a return needs no second approval.

    `labels` is what selectors match: `worker_labels` under automatic ones under `admin_labels`; an admin's maximum of
    replicas goes before the worker's in the same way. A disk total of 0 bytes means unknown. `left_by_itself` tells a
    worker's own drain, which its next start ends, from an admin's; its deadline is in seconds since 1970. `address` is
    what `advertised_address`, the worker's own word, stood for when it was last looked up. `max_replicas` is of all
    models together, 0 for any number; beyond `idle_limit_seconds` nothing idle stays. With `conditions` it receives
    nothing new. With `shared_models` it sees the models where routers see them; else `content_ids` names the files that
    it holds.
    """

    id: str
    name: str
    state: NodeState
    approved: bool
    address: str
    labels: Mapping[str, str]
    devices: tuple[Device, ...]
    engines: tuple[str, ...]
    max_replicas_per_model: int
    token_sha256: bytes
    generation: int = 1
    create_seconds: float = 0.0
    worker_labels: Mapping[str, str] = field(default_factory=dict)
    admin_labels: Mapping[str, str] = field(default_factory=dict)
    disk_total_bytes: int = 0
    disk_free_bytes: int = 0
    left_by_itself: bool = False
    worker_max_replicas: int = 0
    admin_max_replicas: int | None = None
    drain_deadline: float | None = None
    advertised_address: str = ""
    max_replicas: int = 0
    idle_limit_seconds: float = inf
    conditions: tuple[Condition, ...] = ()
    # How much of its memory models may use, as its worker and an admin wrote it; empty or None: neither says.
    worker_memory_budget: str = ""
    admin_memory_budget: str | None = None
    shared_models: bool = False
    content_ids: frozenset[str] = frozenset()
    # Those of `engines` that compute on the CPU although there are GPUs.
    cpu_engines: tuple[str, ...] = ()
    # Why others that are installed cannot run.
    unavailable_engines: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replica:
    """One backend process that serves one revision of a model on a node.

    `shares` is what placement set aside for it, and `memory_bytes` what was measured when it became ready (0: not
    yet). A load that has not `begun` waits until the memory that it was promised is free. With a `problem`, in its
    worker's words, it is ready and of no use; `unreachable`, in a router's, it is well and out of reach.
    """

    id: str
    model: str
    index: int
    revision: str
    node_id: str
    address: str
    state: ReplicaState
    slot_count: int = 0
    max_queue_count: int = 0
    memory_bytes: int = 0
    pid: int = 0
    shares: tuple[Share, ...] = ()
    begun: bool = True
    load_seconds: float = 0.0
    problem: str = ""
    unreachable: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """What a model file says, with defaults filled in; sizes in bytes, context in tokens a slot.

    `kv_bytes` is the cache of all slots. `device_limit` bounds over how many devices it may be split (0: as many as
    there are). An engine that `can_spill` runs, slowly, where its model does not fit.
    """

    name: str
    backend: str
    revision: str
    path: str
    context_size: int
    thread_count: int
    slot_count: int
    max_queue_count: int
    options: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    created_seconds: int = 0
    kv_bytes: int = 0
    pinned: bool = False
    concurrency_groups: tuple[str, ...] = ()
    device_limit: int = 0
    can_spill: bool = False
    # Cores and bytes of the machine's memory that one replica may use; 0: as many as there are, and as it needs.
    cpu_limit: float = 0.0
    memory_limit_bytes: int = 0
    purpose: ModelPurpose = ModelPurpose.UNSPECIFIED
    # Of weights and cache in 16-bit numbers: what they take once more as 32-bit ones.
    half_bytes: int = 0
    about: About = UNTOLD


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that changed above some sequence; `sequence` is the newest number among it."""

    sequence: int = 0
    nodes: tuple[Node, ...] = ()
    replicas: tuple[Replica, ...] = ()
    models: tuple[Model, ...] = ()
    policies: tuple[Policy, ...] = ()
    loads: tuple[LoadJob, ...] = ()
    gone_nodes: tuple[str, ...] = ()
    gone_replicas: tuple[str, ...] = ()
    gone_models: tuple[str, ...] = ()
    gone_policies: tuple[str, ...] = ()
    gone_loads: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(
            self.nodes
            or self.replicas
            or self.models
            or self.policies
            or self.loads
            or self.gone_nodes
            or self.gone_replicas
            or self.gone_models
            or self.gone_policies
            or self.gone_loads
        )
