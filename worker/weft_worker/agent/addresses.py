"""Where others reach this worker."""

import contextlib
import ipaddress
import socket

from weft_worker.settings import Address, parse_address

_UNSPECIFIED = ("0.0.0.0", "::", "")


def advertised(bound: Address, advertise: str | None, register_to: str) -> Address:
    """Decide the address to register: as told, else the bound one, else the one we reach the router from."""
    if advertise:
        with contextlib.suppress(ValueError):
            return parse_address(advertise)
        return Address(advertise.removeprefix("[").removesuffix("]"), bound.port)
    if bound.host in _UNSPECIFIED:
        return Address(_local_address_towards(parse_address(register_to)), bound.port)
    return bound


def literal(host: str) -> str:
    """Resolve a host to an IP literal; the name itself where that fails, since the router may know better."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    with contextlib.suppress(OSError):
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    return host


def is_free(host: str, port: int) -> bool:
    """Say whether a server could bind the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gRPC's server binds: lingering connections of a former listener do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((host, port))
            return True
    return False


def dialable(host: str) -> str:
    """Name an address by which a server that is bound to `host` can be dialled on this machine."""
    if host not in _UNSPECIFIED:
        return host
    return "::1" if host == "::" else "127.0.0.1"


def _local_address_towards(target: Address) -> str:
    """Ask the kernel which address it would send from; a UDP connect sends nothing."""
    try:
        family, kind, protocol, _, remote = socket.getaddrinfo(
            target.host, target.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(remote)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
