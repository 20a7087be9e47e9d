"""Tells of replicas that hang, and of those that are of use again, as their workers see it."""

import logging
from collections.abc import Mapping

from weft_common.events import Journal
from weft_proto.weft.types.v1 import EventKind
from weft_router.fleet.entities import Node, Replica

_log = logging.getLogger(__name__)


def tell_troubles(
    journal: Journal, node: Node, before: Mapping[str, Replica | None], now: Mapping[str, Replica]
) -> None:
    """Tell where a problem is news, now that rows which were as `before` were to be written."""
    for replica_id, row in before.items():
        replica = now.get(replica_id)
        former = row.problem if row else ""
        # Another router may have written meanwhile, and what it has written holds.
        if replica is None or replica.problem == former:
            continue
        about = {"model": replica.model, "node": node.name, "replica_id": replica.id}
        if replica.problem:
            _log.warning("replica_hung", extra=about | {"problem": replica.problem})
            journal.tell(EventKind.REPLICA, "replica_hung", replica.problem, **about)
        else:
            _log.info("replica_recovered", extra=about | {"before": former})
            journal.tell(EventKind.REPLICA, "replica_recovered", "it answers", before=former, **about)
