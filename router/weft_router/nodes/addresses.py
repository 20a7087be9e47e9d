"""Where workers can be reached, as IP literals: Envoy looks no name up."""

import asyncio
import ipaddress
import socket

from weft_common.errors import FieldViolation, InvalidRequest

_LOOK_UP_SECONDS = 2.0


async def resolve(address: str) -> str:
    """`host:port` with the host as an IP literal; raises InvalidRequest."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not _is_port(port):
        violation = FieldViolation("address", "host:port is needed")
        raise InvalidRequest(f"address: '{address}' is not of the form host:port", violations=[violation])
    try:
        return _literal(ipaddress.ip_address(host), port)
    except ValueError:
        return await _looked_up(host, port)


def at_host_of(node_address: str, address: str) -> str:
    """The address on the host of `node_address`: a worker's replicas are where it is, by whatever name it knows it."""
    return f"{node_address.rpartition(':')[0]}:{address.rpartition(':')[2]}"


def same_host(one: str, other: str) -> bool:
    """Whether two addresses are of one machine, whatever the ports."""
    return one.rpartition(":")[0] == other.rpartition(":")[0]


def can_be_dialled(address: str) -> bool:
    """Whether gateways and Envoy, which look no name up, can make anything of an address."""
    host, _, port = address.rpartition(":")
    return _is_literal(host) and _is_port(port)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65536


async def _looked_up(host: str, port: str) -> str:
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError, TimeoutError) as error:  # ValueError: no name at all, such as one with a NUL
        violation = FieldViolation("address", "the host cannot be resolved")
        raise InvalidRequest(
            f"address: '{host}' cannot be resolved here: {error}", violations=[violation]
        ) from error
    return _literal(ipaddress.ip_address(found[0][4][0]), port)


def _literal(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: str) -> str:
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
