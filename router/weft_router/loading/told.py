"""What the journal is told of a load's place: that it begins there, and who has to go for it, and why that one."""

from weft_common.events import Journal
from weft_proto.weft.types.v1 import EventKind
from weft_router.fleet.entities import Replica
from weft_router.fleet.load_job import LoadJob
from weft_router.fleet.views import ReplicaView, Snapshot
from weft_router.placement.decision import Evict, Placed
from weft_router.placement.filters.places import PLACES

_GIB = 1 << 30


def tell_place(
    journal: Journal,
    job: LoadJob,
    decision: Placed | Evict,
    replica: Replica,
    *,
    snapshot: Snapshot,
    now: float,
) -> None:
    """Tell what was decided of the fleet as `snapshot` has it, and written down."""
    victims = decision.victims if isinstance(decision, Evict) else ()
    for victim in victims:
        view = _view(snapshot, victim)
        journal.tell(
            EventKind.EVICTION,
            "evicted",
            _why_this_one(decision, view, stray=_is_stray(snapshot, victim), now=now),
            model=victim.model,
            node=decision.node.name,
            replica_id=victim.id,
            for_model=job.model,
            for_replica=replica.id,
            idle_seconds=round(now - view.idle_since, 1) if view else "",
            forced=isinstance(decision, Evict) and decision.forced,
        )
    wish = "requests wait for it" if job.shared else "one more replica was asked for"
    room = f"{decision.node.name} has room"
    if isinstance(decision, Evict):
        room += " once " + (", ".join(f"{v.model}#{v.index}" for v in victims) or "memory") + " is gone"
    journal.tell(
        EventKind.LOAD,
        "load_begun",
        f"{wish}, and {room}",
        model=job.model,
        node=decision.node.name,
        replica_id=replica.id,
        load=job.id,
    )


def _need(decision: Placed | Evict) -> str:
    node = decision.node
    if node.max_replicas and PLACES.phrase in decision.explanation.counts:
        return f"{node.name} may run {node.max_replicas} replicas at most, so places are needed there"
    need = sum(s.size_bytes for s in decision.shares) / _GIB
    return f"{need:.1f} GiB are needed on {node.name}"


def _why_this_one(decision: Placed | Evict, view: ReplicaView | None, *, stray: bool, now: float) -> str:
    need_text = _need(decision)
    if view is None:
        return need_text
    if stray:
        return f"{need_text}, and this replica can serve no more: its model or policy has changed"
    if isinstance(decision, Evict) and decision.forced:
        return f"{need_text}, nothing idle may go for them, and it is cut as the least busy one"
    if isinstance(decision, Evict) and decision.drains:
        return f"{need_text}, nothing idle may go for them, and it is the least busy one: it finishes first"
    rested = f"idle for {now - view.idle_since:.0f} s"
    return (
        f"{need_text}, and to lose it costs least: {rested}, and loaded in {view.replica.load_seconds:.1f} s"
    )


def _view(snapshot: Snapshot, replica: Replica) -> ReplicaView | None:
    node = snapshot.by_id.get(replica.node_id)
    return next((r for r in node.replicas if r.replica.id == replica.id), None) if node else None


def _is_stray(snapshot: Snapshot, replica: Replica) -> bool:
    node = snapshot.by_id.get(replica.node_id)
    return node is not None and replica.id in node.strays
