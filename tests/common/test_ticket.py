"""Tickets let a request use the replicas that a gateway named, until their expiry, and nothing else."""

import pytest

from weft_common.errors import InvalidTicket, ReplicaClosing
from weft_common.ticket import Ticket, replica_name, sign, verify

SECRET = "ab" * 32
FIRST = replica_name("m/x", 0, "rev", "r-1")
SECOND = replica_name("m/x", 1, "rev", "r-2")
TICKET = Ticket("req-1", (FIRST, SECOND), "alice", 100.0)


@pytest.mark.parametrize("replica", [FIRST, SECOND])
def test_each_named_replica_accepts_the_ticket(replica: str) -> None:
    assert verify(sign(TICKET, SECRET), mesh_secret=SECRET, replica=replica, now=99.0) == TICKET


@pytest.mark.parametrize(
    ("text", "replica", "now", "problem"),
    [
        (None, FIRST, 0, "with a ticket only"),
        ("", FIRST, 0, "with a ticket only"),
        ("nonsense", FIRST, 0, "not signed"),
        ("v1.%%%.!", FIRST, 0, "(malformed|not signed)"),
        (sign(TICKET, "cd" * 32), FIRST, 0, "not signed by this mesh"),
        (sign(TICKET, SECRET)[:-2], FIRST, 0, "(malformed|not signed)"),
        (sign(TICKET, SECRET), FIRST, 100.5, "expired"),
    ],
)
def test_other_tickets_are_refused(text: str | None, replica: str, now: float, problem: str) -> None:
    with pytest.raises(InvalidTicket, match=problem):
        verify(text, mesh_secret=SECRET, replica=replica, now=now)


@pytest.mark.parametrize(
    "replica", [replica_name("m/x", 0, "rev", "r-3"), replica_name("m/x", 0, "other", "r-1")]
)
def test_one_that_is_for_others_is_refused_as_by_one_that_is_gone(replica: str) -> None:
    with pytest.raises(ReplicaClosing, match="is for"):
        verify(sign(TICKET, SECRET), mesh_secret=SECRET, replica=replica, now=0)


def test_a_changed_payload_breaks_the_signature() -> None:
    version, payload, signature = sign(TICKET, SECRET).split(".")
    changed = f"{version}.{payload[:-1]}{'A' if payload[-1] != 'A' else 'B'}.{signature}"
    with pytest.raises(InvalidTicket):
        verify(changed, mesh_secret=SECRET, replica=FIRST, now=0)
