"""What a router knows beside the database: load, memory, ages. It starts empty and heals by itself after a restart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from weft_router.fleet.entities import Device, Replica, ReplicaState, Share
from weft_router.fleet.memory import holding
from weft_router.fleet.story import Stories
from weft_router.fleet.views import ReplicaView


@dataclass(frozen=True, slots=True)
class Activity:
    """How busy a replica is and when it last had something to do."""

    in_flight_count: int = 0
    last_used: float = 0.0


_NO_ACTIVITY = Activity()


@dataclass(slots=True)
class Unstored:
    """State by replica or node id; times are seconds of the router's monotonic clock."""

    activity: dict[str, Activity] = field(default_factory=dict)
    ready_since: dict[str, float] = field(default_factory=dict)
    aside: dict[str, tuple[Share, ...]] = field(default_factory=dict)
    # What each replica of a node held by the node's last heartbeat, and which of them were loaded by then.
    measured: dict[str, Mapping[str, int]] = field(default_factory=dict)
    settled: dict[str, frozenset[str]] = field(default_factory=dict)
    # Memory of replicas that ended after the last heartbeat.
    credit: dict[str, tuple[Share, ...]] = field(default_factory=dict)
    # The most that a replica of a model's revision was seen to hold.
    needs: dict[tuple[str, str], int] = field(default_factory=dict)
    load_heard: dict[str, float] = field(default_factory=dict)
    stories: Stories = field(default_factory=Stories)

    def use(self, replica_id: str, in_flight_count: int, now: float) -> bool:
        """Note how busy a replica is; tells whether that is news."""
        before = self.activity.get(replica_id, _NO_ACTIVITY)
        if before.in_flight_count == in_flight_count:
            return False
        self.activity[replica_id] = Activity(in_flight_count, now)
        return True

    def measure(self, node_id: str, reported: Iterable[Replica]) -> None:
        """Take over what a heartbeat measured of a node's replicas."""
        there = tuple(reported)
        loaded = [r for r in there if r.state is not ReplicaState.LOADING and r.memory_bytes]
        self.measured[node_id] = {r.id: r.memory_bytes for r in there}
        self.settled[node_id] = frozenset(r.id for r in loaded)
        self.credit.pop(node_id, None)
        for replica in loaded:
            self.learn(replica)

    def learn(self, replica: Replica) -> None:
        """Remember what a model really needs."""
        if replica.memory_bytes:
            key = replica.model, replica.revision
            self.needs[key] = max(replica.memory_bytes, self.needs.get(key, 0))

    def view(self, replica: Replica, devices: tuple[Device, ...]) -> ReplicaView:
        """The replica with everything that is known of it."""
        activity = self.activity.get(replica.id, _NO_ACTIVITY)
        aside = self.aside.get(replica.id)
        return ReplicaView(
            replica=replica,
            holding=holding(
                replica if replica.shares or not aside else replace(replica, shares=aside),
                devices,
                shown_bytes=self.measured.get(replica.node_id, {}).get(replica.id, 0),
                settled=replica.id in self.settled.get(replica.node_id, ()),
            ),
            in_flight_count=activity.in_flight_count,
            last_used=activity.last_used,
            ready_since=self.ready_since.get(replica.id, 0.0),
        )

    def forget_replica(self, replica_id: str) -> None:
        """Drop what was known of a replica that is gone."""
        for known in (self.activity, self.ready_since, self.aside):
            known.pop(replica_id, None)
        self.stories.forget(replica_id)

    def is_measured(self, node_id: str) -> bool:
        """Whether a heartbeat has told what memory the node has free."""
        return node_id in self.measured

    def forget_memory(self, node_id: str) -> None:
        """Drop what was measured before a worker registered anew."""
        for known in (self.measured, self.settled, self.credit):
            known.pop(node_id, None)

    def forget_node(self, node_id: str) -> None:
        """Drop what was known of a node that is gone."""
        self.forget_memory(node_id)
        self.load_heard.pop(node_id, None)
        self.stories.forget(node_id)
