"""Placement's decisions as admins see them; upb, since the table of candidates grows with the fleet."""

from collections.abc import Sequence
from typing import assert_never

from weft_proto.pb.weft.scheduling.v1 import scheduling_service_pb2 as pb
from weft_proto.pb.weft.types.v1 import replica_pb2
from weft_router import convert
from weft_router.fleet.entities import Replica
from weft_router.placement.decision import Decision, Evict, Explanation, Join, Placed, Refuse, Serve, Wait
from weft_router.placement.explain import Row
from weft_router.placement.place import SCORES

RANK_NAMES = tuple(score.name for score in SCORES)


def decision_pb(decision: Decision, now: float) -> pb.PlacementDecision:
    """One decision; `now` is of the clock that its moments are of."""
    match decision:
        case Serve(replicas=replicas):
            message = pb.PlacementDecision(outcome="OUTCOME_SERVE", replicas=_replicas(replicas))
        case Join(replica=replica):
            message = pb.PlacementDecision(outcome="OUTCOME_JOIN", replicas=_replicas([replica]))
        case Placed():
            message = _placed("OUTCOME_PLACE", decision)
        case Evict(victims=victims):
            message = _placed("OUTCOME_EVICT", decision)
            message.replicas.extend(_replicas(victims))
            message.reason = _eviction_reason(decision)
        case Wait(reason=reason, until=until):
            message = pb.PlacementDecision(outcome="OUTCOME_WAIT", reason=reason)
            if until is not None:
                message.retry_after.FromMilliseconds(max(0, int((until - now) * 1000)))
        case Refuse(reason=reason, retry_after_seconds=seconds):
            message = pb.PlacementDecision(outcome="OUTCOME_REFUSE", reason=reason)
            message.retry_after.FromMilliseconds(int(seconds * 1000))
        case _:
            assert_never(decision)
    return _explained(message, decision.explanation)


def candidates_pb(rows: Sequence[Row]) -> list[pb.Candidate]:
    """Every node: the best first, then those that were left out, by name."""
    found = [
        pb.Candidate(
            node=row.node,
            reason=row.reason,
            ranks=[row.ranks[name] for name in RANK_NAMES] if row.ranks else [],
            replicas=row.kept,
        )
        for row in rows
    ]
    return sorted(found, key=lambda c: (bool(c.reason), list(c.ranks), c.node))


def _placed(outcome: str, decision: Placed | Evict) -> pb.PlacementDecision:
    return pb.PlacementDecision(
        outcome=outcome,
        node=decision.node.name,
        replica_index=decision.replica_index,
        shares=[
            replica_pb2.DeviceShare(device_id=s.device_id, size_bytes=s.size_bytes) for s in decision.shares
        ],
    )


def _eviction_reason(decision: Evict) -> str:
    if not decision.victims:
        return "memory is coming free there; the load begins when it is"
    if decision.forced:
        return "what is in flight at the replicas that make room is cut off"
    if decision.drains:
        return "the replicas that make room finish what is in flight first"
    return "replicas that were not used for longest make room"


def _explained(message: pb.PlacementDecision, explanation: Explanation) -> pb.PlacementDecision:
    message.considered_count = explanation.considered_count
    for reason, count in explanation.counts.items():
        message.excluded_counts[reason] = count
    message.yielded.extend(explanation.yielded)
    return message


def _replicas(replicas: Sequence[Replica]) -> list[replica_pb2.Replica]:
    return [convert.replica_pb(r) for r in replicas]
