"""Tickets: a gateway's signed word that a request may use one of two replicas until a moment in time.

A replica's port is thereby no open relay, and a port that was recycled never answers for another model. The text form
is `v1.PAYLOAD.SIGNATURE`: unpadded base64url of compact JSON, and of HMAC-SHA256 over `v1.PAYLOAD`.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

import orjson

from weft_common.errors import InvalidTicket, ReplicaClosing

METADATA_KEY = "x-weft-ticket"
_VERSION = "v1"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a gateway vouches for.

    `replicas` holds one or two names of the form `model#index@revision/replica_id`; `expiry` is seconds since 1970.
    """

    request_id: str
    replicas: tuple[str, ...]
    principal: str
    expiry: float


def replica_name(model: str, index: int, revision: str, replica_id: str) -> str:
    """Name a replica in tickets and records; the id tells a restarted process from its predecessor."""
    return f"{model}#{index}@{revision}/{replica_id}"


def sign(ticket: Ticket, mesh_secret: str) -> str:
    """Turn a ticket into metadata text."""
    fields = [ticket.request_id, ticket.replicas, ticket.principal, ticket.expiry]
    body = f"{_VERSION}.{_encode(orjson.dumps(fields))}"
    return f"{body}.{_encode(_signature(body, mesh_secret))}"


def verify(text: str | None, *, mesh_secret: str, replica: str, now: float) -> Ticket:
    """Read a ticket that lets a request use `replica` at `now` (seconds since 1970).

    Raises InvalidTicket where it is missing, malformed, forged or expired, and ReplicaClosing where it is for others: a
    gateway that is behind the times sent it to one that is gone, whose port has been taken by this one.
    """
    if not text:
        raise InvalidTicket(
            "This replica takes requests with a ticket only; send them to Weft's public address."
        )
    body, _, signature = text.rpartition(".")
    try:
        genuine = hmac.compare_digest(_decode(signature), _signature(body, mesh_secret))
    except (ValueError, binascii.Error) as error:
        raise InvalidTicket("The ticket is malformed.") from error
    if not genuine or not body.startswith(f"{_VERSION}."):
        raise InvalidTicket("The ticket was not signed by this mesh.")
    ticket = _parse(body)
    if ticket.expiry < now:
        raise InvalidTicket("The ticket has expired.")
    if replica not in ticket.replicas:
        raise ReplicaClosing(
            f"The ticket is for {' or '.join(ticket.replicas)}, and this is {replica}.",
            retry_after=timedelta(seconds=1),
        )
    return ticket


def _parse(body: str) -> Ticket:
    request_id, replicas, principal, expiry = orjson.loads(_decode(body.partition(".")[2]))
    return Ticket(request_id, tuple(replicas), principal, expiry)


def _signature(body: str, mesh_secret: str) -> bytes:
    return hmac.digest(bytes.fromhex(mesh_secret), body.encode(), hashlib.sha256)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
