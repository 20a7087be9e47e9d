"""What `weft up` can be asked for; light, since every command that looks for a Weft imports it."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
_WILDCARDS = {"0.0.0.0": LOOPBACK, "::": "::1"}


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `weft up` was asked for."""

    port: int = 8080
    bind: str = LOOPBACK
    gateways: int = 2
    routers: int = 1
    node_name: str = "local"
    postgres_url: str | None = None
    nats_url: str | None = None
    envoy_concurrency: int = 2
    body_limit_bytes: int = 64 * 1024 * 1024
    # 0: by the machine's memory.
    envoy_heap_bytes: int = 0
    expose_node_header: bool = False
    cors_origins: tuple[str, ...] = ()
    # What was said of settings that only routers have, by variable.
    router_settings: Mapping[str, str | None] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        """The public address as this machine reaches it."""
        return _WILDCARDS.get(self.bind, self.bind)

    @property
    def url(self) -> str:
        return f"http://{joined(self.host, self.port)}"

    @property
    def join_url(self) -> str:
        """The public address as workers elsewhere reach it, if we bind one that they can."""
        return f"http://{joined(advertised(self.bind), self.port)}"

    @property
    def router_names(self) -> tuple[str, ...]:
        return tuple(f"router-{index}" for index in range(self.routers))

    @property
    def gateway_names(self) -> tuple[str, ...]:
        return tuple(f"gateway-{index}" for index in range(self.gateways))


def joined(host: str, port: int) -> str:
    """Return host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def metrics_port_of(part: str) -> str:
    """Return the name of the port on which a part tells its metrics to this machine."""
    return f"{part}-metrics"


def advertised(bind: str) -> str:
    """Return the address that a machine elsewhere can dial when we bind this one."""
    if bind not in _WILDCARDS:
        return bind
    family, somewhere = (socket.AF_INET6, "2001:db8::1") if ":" in bind else (socket.AF_INET, "192.0.2.1")
    with socket.socket(family, socket.SOCK_DGRAM) as outward:
        try:
            outward.connect((somewhere, 9))  # sends nothing: it only asks for the way out
            return str(outward.getsockname()[0])
        except OSError:
            return _WILDCARDS[bind]
