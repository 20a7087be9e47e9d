"""What a gateway is told from outside; every field is an environment variable with the prefix WEFT_."""

import socket
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from weft_common.duration import Duration
from weft_common.urls import HostPort, NatsUrl, OptionalHostPort


class RoutePolicy(StrEnum):
    """How a replica is chosen."""

    ROUND_ROBIN = "round_robin"
    PREFIX_CACHE = "prefix_cache"


class GatewaySettings(BaseSettings):
    """Settings of one gateway process."""

    model_config = SettingsConfigDict(env_prefix="WEFT_", frozen=True, extra="ignore")

    listen: Annotated[HostPort, Field(description="host:port of the gRPC server that Envoy asks.")]
    part_name: Annotated[
        str, Field(description="What this process is called in events; empty: the host's name.")
    ] = ""
    routers: Annotated[
        tuple[HostPort, ...],
        NoDecode,
        Field(min_length=1, description="host:port of every router, with commas between."),
    ]
    nats_url: Annotated[NatsUrl, Field(description="nats:// URL of the bus, with credentials.")]
    mesh_secret: Annotated[SecretStr, Field(description="Key of tickets and internal calls, hexadecimal.")]
    keys_file: Annotated[Path, Field(description="keys.yaml: names and SHA-256 digests of API keys.")]
    state_dir: Annotated[
        Path, Field(description="Folder where the gateway keeps its last view of the fleet.")
    ]
    snapshot_lifetime: Annotated[
        Duration,
        Field(description="How long the kept view serves a gateway that finds no router.", gt=timedelta(0)),
    ] = timedelta(minutes=10)
    node_silence: Annotated[
        Duration,
        Field(
            description="How long a node may be silent before its replicas are looked at first.",
            gt=timedelta(0),
        ),
    ] = timedelta(seconds=30)
    queue_wait: Annotated[
        Duration, Field(description="How long a request waits for a slot at most.", gt=timedelta(0))
    ] = timedelta(seconds=60)
    queue_limit: Annotated[
        int,
        Field(
            description="How many requests wait for slots in a gateway itself, while no router answers.",
            ge=1,
            le=1_000_000,
        ),
    ] = 2_000
    debug_headers: Annotated[
        bool,
        Field(description="Answer with X-Weft-Queue-Position and X-Weft-Queue-Wait-Ms."),
    ] = False
    metrics_listen: Annotated[
        OptionalHostPort,
        Field(description="host:port of Prometheus metrics, at /metrics; empty: none are served."),
    ] = ""
    load_wait: Annotated[
        Duration, Field(description="How long a request waits for a load at most.", gt=timedelta(0))
    ] = timedelta(seconds=60)
    request_timeout: Annotated[
        Duration, Field(description="How long a request may take from end to end.", gt=timedelta(0))
    ] = timedelta(hours=1)
    ticket_lifetime: Annotated[
        Duration,
        Field(description="How long a replica accepts a ticket after it was signed.", gt=timedelta(0)),
    ] = timedelta(minutes=2)

    route_policy: Annotated[
        RoutePolicy,
        Field(
            description="How requests are spread over replicas, where a model's policy does not say: round_robin, or"
            " prefix_cache, which prefers replicas that saw the beginning of a prompt lately."
        ),
    ] = RoutePolicy.PREFIX_CACHE

    @field_validator("routers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    def part(self) -> str:
        """What this process is called in events."""
        return self.part_name or socket.gethostname()
