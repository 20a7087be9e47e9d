"""What a worker is told from outside; every field is an environment variable with the prefix WEFT_."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from weft_common.duration import Duration
from weft_common.memory_budget import MemoryBudget
from weft_common.urls import NatsUrl, OptionalHostPort
from weft_worker.agent.hung import HungLimits
from weft_worker.setting_texts import parse_amount, parse_labels, parse_memory, parse_names, parse_rate


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens; `host` is a name or an IP literal without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """Read `host:port`, where the host may be an IPv6 literal in brackets and is 0.0.0.0 where it is empty."""
    if isinstance(text, Address):
        return text
    host, colon, port = str(text).rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("host:port is needed, such as 0.0.0.0:50051")
    return Address(host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port))


def parse_register_to(text: object) -> str:
    """Read `http://host:port` and return `host:port`, which is what gRPC dials."""
    parts = urlsplit(str(text) if "://" in str(text) else f"http://{text}")
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
        raise ValueError("the URL of Weft's public port is needed, such as http://weft.example:8080")
    return str(Address(parts.hostname, parts.port or 80))


def _host_name() -> str:
    return socket.gethostname() or "worker"


class WorkerSettings(BaseSettings):
    """Settings of one worker."""

    model_config = SettingsConfigDict(env_prefix="WEFT_", frozen=True, extra="ignore")

    register_to: Annotated[
        str,
        BeforeValidator(parse_register_to),
        Field(description="URL of Weft's public port, where the worker registers."),
    ]
    registration_token: Annotated[SecretStr, Field(description="What a worker must present to join.")]
    state_dir: Annotated[Path, Field(description="Folder for identity, records and logs of this worker.")]
    node_name: Annotated[
        str,
        Field(
            description="A person's name for this node; the host's name if unset.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$",
            default_factory=_host_name,
            validate_default=True,
        ),
    ]
    addr: Annotated[
        Address,
        NoDecode,
        BeforeValidator(parse_address),
        Field(description="host:port that the agent binds; replicas take the ports after it; 0 draws ports."),
    ] = Address("0.0.0.0", 50051)
    advertise_addr: Annotated[
        str | None,
        Field(description="host or host:port where others reach this worker, if that differs from addr."),
    ] = None
    node_labels: Annotated[
        Mapping[str, str],
        NoDecode,
        BeforeValidator(parse_labels),
        Field(description="Labels for selectors: key=value,key=value.", default_factory=dict),
    ]
    memory_budget: Annotated[
        MemoryBudget | None,
        NoDecode,
        BeforeValidator(parse_memory),
        Field(
            description="Memory that models may use, as a share (80%) or an amount (8GiB) of the GPUs' or, without "
            "GPUs, of the machine's; unset: all of the GPUs', 80% of the machine's."
        ),
    ] = None
    cpu_engines: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(parse_names),
        Field(
            description="Engines that compute on the CPU also where there are GPUs, so that their models take the "
            "machine's own memory; set it to nothing where llama-cpp is a build for GPUs."
        ),
    ] = ("llama-cpp",)
    models_path: Annotated[
        Path | None,
        Field(description="With shared_models, where the models are; the room on its disk is reported."),
    ] = None
    disk_margin: Annotated[
        MemoryBudget | None,
        NoDecode,
        BeforeValidator(parse_memory),
        Field(
            description="What must be free on the disk of state_dir, as a share (5%) or an amount (1GiB), or nothing"
            " new is placed here; unset: 1GiB, and 5% of a disk smaller than 20GiB."
        ),
    ] = None
    zombie_memory: Annotated[
        MemoryBudget,
        NoDecode,
        BeforeValidator(parse_memory),
        Field(
            description="How much memory of a GPU may be in use by no process that its driver names, beside what"
            " drivers need, before nothing new is placed here."
        ),
    ] = MemoryBudget(None, 1 << 30)
    zombie_after: Annotated[
        Duration,
        Field(description="For how long it has to be more than zombie_memory.", ge=timedelta(seconds=1)),
    ] = timedelta(minutes=1)
    shared_models: Annotated[
        bool,
        Field(
            description="This machine sees the models under the routers' own paths: no files are brought here."
        ),
    ] = False
    files_path: Annotated[
        Path | None,
        Field(description="Folder for model files that are brought here; unset: files in state_dir."),
    ] = None
    files_quota: Annotated[
        MemoryBudget | None,
        NoDecode,
        BeforeValidator(parse_memory),
        Field(
            description="How much of the disk these files may take, as an amount (200GiB) or a share (80%); unset: "
            "all of the disk but one and a half times what disk_margin keeps free."
        ),
    ] = None
    files_bandwidth: Annotated[
        int | None,
        NoDecode,
        BeforeValidator(parse_rate),
        Field(
            description="How fast they may come, and be passed on, per second (100MiB, at least 1MiB); unset: no limit."
        ),
    ] = None
    max_replicas_per_model: Annotated[
        int, Field(description="How many replicas of one model this node may run.", ge=1, le=64)
    ] = 1
    max_active_backends: Annotated[
        int, Field(description="How many replicas of any models this node may run; 0: no limit.", ge=0)
    ] = 0
    replica_cpus: Annotated[
        float,
        Field(
            description="Cores that one replica may compute with where its model file has no cpus; 0: all.",
            ge=0,
            le=4096,
            allow_inf_nan=False,
        ),
    ] = 0.0
    replica_memory: Annotated[
        int,
        NoDecode,
        BeforeValidator(parse_amount),
        Field(
            description="Memory of the machine that one replica may hold where its model file has no memory_limit, "
            "such as 4GiB; 0: as much as it needs.",
            ge=0,
        ),
    ] = 0
    watchdog_idle: Annotated[
        bool, Field(description="Unload what is idle for watchdog_idle_timeout, unless pinned or needed.")
    ] = False
    watchdog_idle_timeout: Annotated[
        Duration, Field(description="How long a replica may be idle with watchdog_idle.", gt=timedelta(0))
    ] = timedelta(minutes=15)
    stream_heartbeat: Annotated[
        Duration,
        Field(
            description="How long a stream over REST is silent before its client is told that the answer still comes.",
            gt=timedelta(0),
        ),
    ] = timedelta(seconds=15)
    watchdog_busy: Annotated[
        bool,
        Field(description="Stop a replica by force that works on one request for watchdog_busy_timeout."),
    ] = False
    watchdog_busy_timeout: Annotated[
        Duration,
        Field(description="How long one request may hold a slot with watchdog_busy.", gt=timedelta(0)),
    ] = timedelta(minutes=5)
    memory_reclaimer: Annotated[
        bool,
        Field(description="Unload what is idle while more than memory_reclaimer_threshold is in use."),
    ] = False
    memory_reclaimer_threshold: Annotated[
        float,
        Field(description="Share of the memory for models (the GPUs', or else the machine's).", gt=0, le=1),
    ] = 0.95
    health_listen: Annotated[
        OptionalHostPort,
        Field(description="host:port of /healthz and /readyz over plain HTTP; empty: none is served."),
    ] = ""
    heartbeat_interval: Annotated[
        Duration | None,
        Field(description="How often to report; unset: as the router says.", gt=timedelta(0)),
    ] = None
    nats_url: Annotated[
        NatsUrl | None, Field(description="URL of the bus, if not the one that the router gives.")
    ] = None
    install_timeout: Annotated[
        Duration, Field(description="How long a backend process may take to start.", gt=timedelta(0))
    ] = timedelta(seconds=30)
    drain_timeout: Annotated[
        Duration, Field(description="How long a stopped replica may finish what is in flight.")
    ] = timedelta(minutes=10)
    shutdown_timeout: Annotated[
        Duration,
        Field(
            description="How long what is in flight may take to finish when this worker is told to end (SIGTERM); a"
            " second signal ends that.",
            ge=timedelta(0),
        ),
    ] = timedelta(seconds=30)
    lease: Annotated[
        Duration,
        Field(description="How long a replica without its agent takes new work.", gt=timedelta(0)),
    ] = timedelta(seconds=30)
    orphan: Annotated[
        Duration,
        Field(description="How long a replica without its agent lives.", gt=timedelta(0)),
    ] = timedelta(seconds=120)
    hung_after: Annotated[
        Duration,
        Field(
            description="After how long of silence a loaded replica that computes nothing counts as hung.",
            ge=timedelta(seconds=2),
        ),
    ] = timedelta(seconds=20)
    stuck_after: Annotated[
        Duration,
        Field(
            description="After how long without a token for any of its requests a replica that computes nothing "
            "counts as hung.",
            ge=timedelta(seconds=2),
        ),
    ] = timedelta(minutes=5)

    grpc_max_port: Annotated[
        int, Field(description="The last port that replicas may take.", ge=1, le=65535)
    ] = 65535
    stop_timeout: Annotated[
        Duration,
        Field(
            description="How long a stopped replica may take to end, once its requests have had their time, before "
            "SIGTERM; by force it is 0.3 s.",
            ge=timedelta(0),
        ),
    ] = timedelta(seconds=5)
    terminate_timeout: Annotated[
        Duration,
        Field(
            description="How long it may take from SIGTERM to SIGKILL; by force it is 0.2 s.", ge=timedelta(0)
        ),
    ] = timedelta(seconds=5)
    crash_pause: Annotated[
        Duration,
        Field(
            description="The longest pause before a model that crashes again and again is started again; 0: none.",
            ge=timedelta(0),
        ),
    ] = timedelta(seconds=60)
    cgroup_root: Annotated[
        Path,
        Field(description="Where cgroup v2 is mounted; it tells which processes ended for want of memory."),
    ] = Path("/sys/fs/cgroup")

    @model_validator(mode="after")
    def _leaves_ports_for_replicas(self) -> "WorkerSettings":
        if self.addr.port >= self.grpc_max_port:
            raise ValueError(
                f"grpc_max_port {self.grpc_max_port} must lie above the port of addr, {self.addr.port}:"
                " replicas take the ports in between"
            )
        return self

    @property
    def idle_limit(self) -> timedelta | None:
        """How long a replica may be idle here; None is for ever."""
        return self.watchdog_idle_timeout if self.watchdog_idle else None

    @property
    def busy_limit(self) -> timedelta | None:
        """How long one request may hold a slot here; None is for ever."""
        return self.watchdog_busy_timeout if self.watchdog_busy else None

    @property
    def memory_limit(self) -> float | None:
        """Share of memory above which what is idle goes; None for no such share."""
        return self.memory_reclaimer_threshold if self.memory_reclaimer else None

    def hung_limits(self) -> HungLimits:
        """When a replica whose process lives counts as hung."""
        return HungLimits(
            silent_seconds=self.hung_after.total_seconds(), stuck_seconds=self.stuck_after.total_seconds()
        )
