"""Who waits for what at one router, as messages, and the lists of several routers as one."""

from collections.abc import Iterable, Mapping

from weft_proto.pb.weft.scheduling.v1.scheduling_service_pb2 import Queue, WaitingPrincipal
from weft_router.slots.core.fair_queue import FairQueue

MOST_PRINCIPALS = 100


def queue_pb(model: str, queue: FairQueue, slot_count: int, now: float) -> Queue:
    """One router's queue for one model."""
    message = Queue(model=model, waiting_count=len(queue), slot_count=slot_count)
    if queue.service.value is not None:
        message.service_time.FromMicroseconds(int(queue.service.value * 1e6))
    crowds = sorted(queue.waits(), key=lambda crowd: (-len(crowd[1]), crowd[0]))
    for principal, waits in crowds[:MOST_PRINCIPALS]:
        line = message.principals.add(principal=principal, waiting_count=len(waits))
        line.longest.FromMicroseconds(int((now - waits[0].since) * 1e6))
    return message


def counted(counts: Mapping[str, int]) -> list[Queue]:
    """The queues of a router of which nothing but counts is known."""
    return [Queue(model=model, waiting_count=count) for model, count in counts.items()]


def merged(lists: Iterable[Iterable[Queue]]) -> list[Queue]:
    """The queues of several routers as one list, longest first; what is measured is where most wait."""
    by_model: dict[str, list[Queue]] = {}
    for queues in lists:
        for queue in queues:
            by_model.setdefault(queue.model, []).append(queue)
    return sorted(map(_joined, by_model.values()), key=lambda q: (-q.waiting_count, q.model))


def _joined(queues: list[Queue]) -> Queue:
    queues = sorted(queues, key=lambda q: -q.waiting_count)
    if len(queues) == 1:
        return queues[0]
    joined = Queue(
        model=queues[0].model,
        waiting_count=sum(q.waiting_count for q in queues),
        slot_count=max(q.slot_count for q in queues),
        principals=_together(line for queue in queues for line in queue.principals),
    )
    measured = next((q for q in queues if q.HasField("service_time")), None)
    if measured is not None:
        joined.service_time.CopyFrom(measured.service_time)
    return joined


def _together(lines: Iterable[WaitingPrincipal]) -> list[WaitingPrincipal]:
    """One line for each principal, the most first."""
    found: dict[str, WaitingPrincipal] = {}
    for line in lines:
        if (known := found.get(line.principal)) is None:
            known = found[line.principal] = WaitingPrincipal(principal=line.principal)
        known.waiting_count += line.waiting_count
        if line.longest.ToNanoseconds() > known.longest.ToNanoseconds():
            known.longest.CopyFrom(line.longest)
    return sorted(found.values(), key=lambda p: (-p.waiting_count, p.principal))[:MOST_PRINCIPALS]
