"""Tells of replicas that hang, and of those that are of use again, as their workers see it."""

import logging
from collections.abc import Iterable, Mapping

from weft_common.events import Journal
from weft_proto.weft.types.v1 import EventKind
from weft_router.fleet.entities import Node, Replica

_log = logging.getLogger(__name__)


def tell_troubles(
    journal: Journal, node: Node, written: Iterable[Replica], before: Mapping[str, Replica]
) -> None:
    """Tell where a problem of what was `written` is news, beside the rows of `before`."""
    for replica in written:
        row = before.get(replica.id)
        former = row.problem if row else ""
        if replica.problem == former:
            continue
        about = {"model": replica.model, "node": node.name, "replica_id": replica.id}
        if replica.problem:
            _log.warning("replica_hung", extra=about | {"problem": replica.problem})
            journal.tell(EventKind.REPLICA, "replica_hung", replica.problem, **about)
        else:
            _log.info("replica_recovered", extra=about | {"before": former})
            journal.tell(EventKind.REPLICA, "replica_recovered", "it answers", before=former, **about)
