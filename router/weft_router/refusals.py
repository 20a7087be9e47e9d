"""Requests that are turned away, as the journal is told of them: seldom, with how many they were."""

import contextlib
from collections.abc import Iterator

from weft_common.errors import LoadFailed, ModelLoading, NoCapacity, QueueFull, ReplicaFull, WaitTooLong
from weft_common.events import Journal
from weft_proto.weft.types.v1 import EventKind

# What a caller cannot help; the others are its own mistakes, or outages that the log tells of.
_REFUSALS = (NoCapacity, ModelLoading, LoadFailed, QueueFull, ReplicaFull, WaitTooLong)


@contextlib.contextmanager
def telling_refusals(journal: Journal, model: str) -> Iterator[None]:
    """Tell the journal where the body refuses a request for want of capacity."""
    try:
        yield
    except _REFUSALS as error:
        journal.tell_counted(EventKind.REFUSAL, "refused", error.message, reason=error.reason, model=model)
        raise
