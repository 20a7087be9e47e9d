"""Which idle replica goes where a device has too little free memory, and when that is no use.

Only what holds memory of that device makes room on it. Where the last one that went brought nothing, or where all of
ours together could not bring enough, somebody else holds the memory: then one goes every few minutes, in case that has
changed, and not each one as soon as it was loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from weft_router.fleet.entities import ReplicaState
from weft_router.fleet.memory import FullDevice, usable
from weft_router.fleet.views import NodeView, ReplicaView, Snapshot

_PAUSE_SECONDS = 300.0
# A worker measures every second and tells it a second later, at most.
_MEASURED_AFTER_SECONDS = 3.0
# Less than this share of what it held, and a replica brought nothing: others move a little all the time.
_LEAST_SHARE = 0.1


@dataclass(slots=True)
class _Taken:
    """The last one that was to go from a device; `excess_bytes` of then, and since when it has been `gone`."""

    replica_id: str
    held_bytes: int
    excess_bytes: int
    useless: bool
    gone: float | None = None


@dataclass(slots=True)
class Reclaim:
    """State: `_taken`, and until when nothing goes, `_paused`; both by node and device, for as long as that is full."""

    _taken: dict[tuple[str, str], _Taken] = field(default_factory=dict)
    _paused: dict[tuple[str, str], float] = field(default_factory=dict)

    def keep(self, snapshot: Snapshot) -> None:
        """Forget devices that have enough again."""
        full = {(node_id, d.device_id) for node_id, devices in snapshot.full_devices.items() for d in devices}
        self._taken = {k: v for k, v in self._taken.items() if k in full}
        self._paused = {k: v for k, v in self._paused.items() if k in full}

    def victim(
        self, node: NodeView, full: Sequence[FullDevice], idle: Sequence[ReplicaView], now: float
    ) -> tuple[ReplicaView, str] | None:
        """Who goes now, and why; only `idle` ones may."""
        alone = len(usable(node.node.devices)) == 1
        for device in sorted(full, key=lambda d: (-d.use, d.device_id)):
            key = (node.node.id, device.device_id)
            there = [v for v in idle if alone or _bytes_on(v, device.device_id)]
            if there and self._may_take(key, node, device, now):
                chosen = min(there, key=lambda v: (v.idle_since, v.replica.id))
                self._note(key, node, device, chosen)
                where = node.node.name if alone else f"{device.device_id} of {node.node.name}"
                return chosen, f"{device.use:.0%} of the memory of {where} are in use"
        return None

    def _may_take(self, key: tuple[str, str], node: NodeView, device: FullDevice, now: float) -> bool:
        taken = self._taken.get(key)
        if taken is None:
            return now >= self._paused.get(key, float("-inf"))
        if any(v.replica.id == taken.replica_id for v in node.replicas):
            # It was not taken: it is in use again, say, or whoever leads could not write.
            self._taken.pop(key)
            return True
        if taken.gone is None:
            taken.gone = now
        if now - taken.gone < _MEASURED_AFTER_SECONDS:
            return False
        self._taken.pop(key)
        brought = taken.excess_bytes - device.excess_bytes
        if taken.useless or brought < _LEAST_SHARE * taken.held_bytes or brought <= 0:
            self._paused[key] = taken.gone + _PAUSE_SECONDS
            return False
        return True

    def _note(self, key: tuple[str, str], node: NodeView, device: FullDevice, chosen: ReplicaView) -> None:
        ours = [v for v in node.replicas if v.replica.state is not ReplicaState.UNLOADING]
        known = all(v.claimed_bytes for v in ours)
        useless = known and sum(_bytes_on(v, device.device_id) for v in ours) < device.excess_bytes
        held_bytes = _bytes_on(chosen, device.device_id)
        self._taken[key] = _Taken(chosen.replica.id, held_bytes, device.excess_bytes, useless)


def _bytes_on(view: ReplicaView, device_id: str) -> int:
    return sum(s.size_bytes for s in view.holding.claims if s.device_id == device_id)
