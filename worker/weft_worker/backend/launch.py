"""The launch document: what an agent tells a backend process on its stdin, as one line of JSON."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from weft_common.purposes import Purpose

Seconds = Annotated[float, Field(gt=0)]


CPU_DEVICE = "cpu"


class LaunchedModel(BaseModel):
    """The model that the process will load; the fields of weft.types.v1.Model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    backend: str = Field(min_length=1)
    revision: str
    path: str
    context_size: int = Field(ge=1)
    thread_count: int = Field(default=0, ge=0)
    slot_count: int = Field(default=1, ge=1)
    max_queue_count: int = Field(default=0, ge=0)
    options: Mapping[str, str] = Field(default_factory=dict)
    size_bytes: int = Field(default=0, ge=0)
    created_seconds: int = Field(default=0, ge=0)
    purpose: Purpose = Purpose.CHAT


class LaunchDocument(BaseModel):
    """Who the process is, where it listens, and whom it belongs to.

    Secrets travel here and not in arguments or the environment, which other processes can read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    replica_id: str = Field(min_length=1)
    node_id: str
    node_name: str
    model: LaunchedModel
    index: int = Field(ge=0)
    device_ids: tuple[str, ...] = ()
    """The devices that the process may use; empty where that is the engine's choice."""
    listen: str
    """`IP:PORT`; port 0 draws one, and the lease socket's hello tells which."""
    mesh_secret: str = Field(repr=False, pattern=r"^([0-9a-f]{2})+$")
    agent_socket: str
    """Path of the agent's unix socket, or `@NAME` in Linux's abstract namespace."""
    lease_token: str = Field(repr=False)
    lease_seconds: Seconds = 30.0
    """How long new work is taken after the agent was lost."""
    orphan_seconds: Seconds = 120.0
    """How long after the agent was lost the process ends itself."""
    stall_seconds: Seconds = 60.0
    """How long a stream goes on whose client takes nothing of it."""
    heartbeat_seconds: Seconds = 15.0
    """How long a stream is silent before its client is told that the answer still comes."""
    busy_limit_seconds: Seconds | None = None
    """How long one request may hold a slot before the process is stopped; None is for ever."""

    def to_line(self) -> bytes:
        """Encode for stdin."""
        return self.model_dump_json().encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "LaunchDocument":
        """Decode; raises pydantic.ValidationError: log its `errors(include_input=False)`, never its text."""
        return cls.model_validate_json(line)


def gpu_ids(device_ids: Sequence[str]) -> tuple[str, ...]:
    """Leave out the CPU, which is a device of its own where a node has no other."""
    return tuple(device_id for device_id in device_ids if device_id != CPU_DEVICE)
