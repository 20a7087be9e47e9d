"""Whether load reports come at all: one that says nothing while others do hangs, and while none do nobody can tell.

Agents report every second, also with nothing to tell. So a node without reports has lost its agent or its machine,
unless it is heard of by heartbeats later than by reports, or is part of the fleet for so long that somebody hears it:
then only its way to the bus is cut.
"""

from collections.abc import Container
from dataclasses import dataclass, field

STALE_SECONDS = 2.0
# Agents report more often while anything is busy there: whoever waits for a slot shall not wait long for a lost bus.
BUSY_REPEAT_SECONDS = 0.4
BUSY_STALE_SECONDS = 0.8
# A busy machine may well be late by a report or two.
MUTE_SECONDS = 5.0
# A node that is silent altogether has been found unhealthy by then, and what hangs has been replaced.
_CUT_OFF_SECONDS = 40.0


@dataclass(slots=True)
class BusFlow:
    """Reports of whatever node; state: all of it, in seconds of its owner's monotonic clock."""

    _latest: float = float("-inf")
    _since: float = float("-inf")

    def report(self, now: float) -> None:
        """Note that one came."""
        if now - self._latest > STALE_SECONDS:
            self._since = now
        self._latest = now

    def since(self, now: float, patience: float) -> float | None:
        """Since when they have come without a gap; None where none has for `patience` seconds."""
        return self._since if now - self._latest <= patience else None


@dataclass(slots=True)
class NodeFlow:
    """Reports of one node beside those of all; state: when it was last heard of, by reports and at all."""

    bus: BusFlow
    reported: float = float("-inf")
    _heard: float = float("-inf")

    def report(self, now: float) -> None:
        """Note that one came."""
        self.reported = now
        self.hear(now)
        self.bus.report(now)

    def hear(self, moment: float) -> None:
        """Note that it lives, by whatever sign."""
        self._heard = max(self._heard, moment)

    def since(self, now: float, patience: float = STALE_SECONDS) -> float | None:
        """Since when silence here means something; None while the bus, or this node's way to it, is down."""
        began = self.bus.since(now, patience)
        if began is None:
            return None
        last = max(self.reported, began)
        cut_off = self._heard - last > MUTE_SECONDS or now - last > _CUT_OFF_SECONDS
        return None if cut_off else began


@dataclass(slots=True)
class Flows:
    """The flows of all nodes that were asked for or heard of; state: `_nodes`."""

    bus: BusFlow = field(default_factory=BusFlow)
    _nodes: dict[str, NodeFlow] = field(default_factory=dict)

    def of(self, node_id: str) -> NodeFlow:
        """The one node's."""
        found = self._nodes.get(node_id)
        if found is None:
            found = self._nodes[node_id] = NodeFlow(self.bus)
        return found

    def forget_others(self, known: Container[str]) -> None:
        """Drop nodes that are gone."""
        self._nodes = {i: flow for i, flow in self._nodes.items() if i in known}
