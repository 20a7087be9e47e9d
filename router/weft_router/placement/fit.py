"""Whether a model fits into what a node's devices have to spare, and onto which of them it goes.

One device if there is one with room, the emptiest, so that models share compute as little as they can; else as few
as will do, all of one maker, each taking a part in proportion to its room.
"""

from collections.abc import Iterable, Sequence

from weft_router.fleet.entities import Share
from weft_router.fleet.memory import Room
from weft_router.fleet.views import NodeView
from weft_router.placement.request import PROCESS_BYTES, Request


def fit(spare: Sequence[Room], need_bytes: int, device_limit: int = 0) -> tuple[Share, ...] | None:
    """What to set aside on which device; None if there is no room, nothing if nothing is known of it."""
    known = [r for r in spare if r.total_bytes]
    if not known or not need_bytes:
        return ()
    best = max(known, key=lambda r: r.spare_bytes)
    if best.spare_bytes >= need_bytes:
        return (Share(best.device_id, need_bytes),)
    if len(known) == 1 or device_limit == 1:
        return None
    splits = (_split(group, need_bytes, device_limit) for group in _by_vendor(known))
    return min((s for s in splits if s), key=len, default=None)


def fits(view: NodeView, request: Request) -> bool:
    """Whether it is known that there is room for the model, or nothing is known that speaks against it."""
    need = request.need_bytes
    if not view.memory_known or need <= view.largest_bytes:
        return True
    return need <= view.spare_bytes and fit(view.rooms, need, request.model.device_limit) is not None


def _split(group: Sequence[Room], need_bytes: int, device_limit: int) -> tuple[Share, ...] | None:
    """Over as few of these devices as hold it; every further one costs what a process costs."""
    emptiest = sorted((r for r in group if r.spare_bytes > 0), key=lambda r: -r.spare_bytes)
    room = 0
    for count, each in enumerate(emptiest[: device_limit or None], start=1):
        room += each.spare_bytes
        total = need_bytes + (count - 1) * PROCESS_BYTES
        if room >= total:
            return tuple(Share(r.device_id, -(-total * r.spare_bytes // room)) for r in emptiest[:count])
    return None


def _by_vendor(known: Iterable[Room]) -> Iterable[list[Room]]:
    groups: dict[str, list[Room]] = {}
    for each in known:
        groups.setdefault(each.vendor, []).append(each)
    return groups.values()
