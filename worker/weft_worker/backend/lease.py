"""What a backend process and its agent say to each other over the lease socket: one JSON object a line.

The backend connects and says `hello`, then `state` on every change and `load` whenever its load changed
(at most every 20 ms) and every second unchanged. The agent says `accepted` to a hello whose token, pid and start
time it knows, and may say `stop`. The socket is the lease from `accepted` until it closes: nothing is renewed.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_LINE_BYTES = 1 << 20
REPORT_EVERY_SECONDS = 1.0
COALESCE_SECONDS = 0.02


class LeaseState(StrEnum):
    """Where a backend process stands; the names of weft.types.v1.ReplicaState in lower case."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


class _Message(BaseModel):
    """Unknown fields are ignored, so that an agent may adopt a backend of another version."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Hello(_Message):
    """First line of every connection; repeated after a reconnect, so it tells the present state."""

    replica_id: str
    pid: int
    start_time: int
    """Field 22 of /proc/PID/stat, in clock ticks since boot."""
    token: str = Field(repr=False)
    model: str
    index: int
    revision: str
    address: str
    """`IP:PORT` that the gRPC server is bound to."""
    state: LeaseState
    slot_count: int = 1
    max_queue_count: int = 0


class StateChange(_Message):
    """The process reached another state; `message` tells why it failed."""

    state: LeaseState
    message: str = ""


class PicksOfGateway(_Message):
    """The picks of one gateway that reached the replica; see weft.bus.v1.SeenPicks."""

    gateway_id: str
    contiguous: int
    beyond: tuple[int, ...] = ()


class Work(_Message):
    """What was done for one principal since the process began; see weft.bus.v1.PrincipalWork."""

    principal: str
    generated: int = 0
    prompt: int = 0
    finished: int = 0
    slot_ms: int = 0
    here: int = 0
    running: int = 0


class Load(_Message):
    """How busy the process is; `started` and `ended` count requests since it began."""

    in_flight: int
    queued: int
    picks: tuple[PicksOfGateway, ...] = ()
    works: tuple[Work, ...] = ()
    started: int = 0
    ended: int = 0
    keep_alive_seconds: float | None = None
    """What the latest request that said so wished; below 0 is for ever."""
    busy_seconds: float = 0.0
    """How long the request has held its slot that has held it longest; 0 where none does."""
    stalled_seconds: float | None = None
    """How long the request that is served worst has been without a token; see weft.bus.v1.ReplicaLoad."""
    stuck_seconds: float | None = None
    """For how long none of the requests that the engine works on has had anything; None while there is none."""


class Stop(_Message):
    """The agent wants the process to take no new work, finish within `grace_seconds`, and end.

    New work is still taken for as long as `linger_seconds`, or until there was none for a moment: gateways that have
    not heard of the stop yet send some, and nobody shall be refused for that.
    """

    grace_seconds: float = Field(ge=0)
    linger_seconds: float = Field(default=0, ge=0)


class Report(_Message):
    """A line from the backend: exactly one of the three."""

    hello: Hello | None = None
    state: StateChange | None = None
    load: Load | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "Report":
        if sum(part is not None for part in (self.hello, self.state, self.load)) != 1:
            raise ValueError("a report holds exactly one of hello, state and load")
        return self


class Command(_Message):
    """A line from the agent; commands of a newer agent decode to an empty one."""

    accepted: bool = False
    """The hello is that of a process of this agent's."""
    stop: Stop | None = None


def encode(message: Report | Command) -> bytes:
    """Turn a message into its line."""
    return message.model_dump_json(exclude_none=True).encode() + b"\n"


def decode_report(line: bytes) -> Report:
    """Read a line from a backend; raises pydantic.ValidationError."""
    return Report.model_validate_json(line)


def decode_command(line: bytes) -> Command:
    """Read a line from an agent; raises pydantic.ValidationError."""
    return Command.model_validate_json(line)


def socket_address(agent_socket: str) -> str:
    """Turn the launch document's socket name into what the socket module takes."""
    return "\0" + agent_socket[1:] if agent_socket.startswith("@") else agent_socket
