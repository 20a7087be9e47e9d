"""Addresses in settings, refused where they are read: a client that gets a bad one tries it again for ever.

Messages never quote a URL, which may hold a password.
"""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

_NATS = "nats://TOKEN@HOST:4222 is needed (or tls://)"
_POSTGRES = "postgresql://USER:PASSWORD@HOST:5432/DATABASE is needed, special characters in it as %XX"


def check_nats_url(url: str) -> str:
    """Return the URL of a bus, or raise ValueError."""
    parts = _split(url)
    if parts is None or parts[0] not in ("nats", "tls") or not _is_host_port(parts[1], port_needed=False):
        raise ValueError(_NATS)
    return url


def check_postgres_url(url: str) -> str:
    """Return the URL of a database, or raise ValueError; several hosts, or none and a socket, are allowed."""
    parts = _split(url)
    if parts is None or parts[0] not in ("postgresql", "postgres"):
        raise ValueError(_POSTGRES)
    if parts[1] and not all(_is_host_port(host, port_needed=False) for host in parts[1].split(",")):
        raise ValueError(_POSTGRES)
    return url


def check_host_port(text: str) -> str:
    """Return `host:port`, or raise ValueError."""
    if not _is_host_port(text, port_needed=True):
        raise ValueError("HOST:PORT is needed, such as 127.0.0.1:7000")
    return text


def _split(url: str) -> tuple[str, str] | None:
    """Return scheme and hosts without credentials."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return (parts.scheme, parts.netloc.rpartition("@")[2]) if "://" in url else None


def _is_host_port(text: str, *, port_needed: bool) -> bool:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        return not port_needed and _is_host(text)
    return _is_host(host) and port.isascii() and port.isdigit() and int(port) <= 65535


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return host.endswith("]") and ":" in host
    return bool(host) and not set(host) & set(":[]/ \t")


def _check_secret_nats(url: SecretStr) -> SecretStr:
    check_nats_url(url.get_secret_value())
    return url


def _check_secret_postgres(url: SecretStr) -> SecretStr:
    check_postgres_url(url.get_secret_value())
    return url


NatsUrl = Annotated[SecretStr, AfterValidator(_check_secret_nats)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_check_secret_postgres)]
HostPort = Annotated[str, AfterValidator(check_host_port)]
OptionalHostPort = Annotated[str, AfterValidator(lambda text: text and check_host_port(text))]
