"""What a router knows beside the database: load, memory, ages. It starts empty and heals by itself after a restart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from weft_router.fleet.entities import Device, Disk, Model, Replica, ReplicaState, Share
from weft_router.fleet.files import ModelFiles
from weft_router.fleet.memory import FullDevice, holding
from weft_router.fleet.needs import Need, Needs, estimate, kind_held
from weft_router.fleet.story import Stories
from weft_router.fleet.views import ReplicaView


@dataclass(frozen=True, slots=True)
class Activity:
    """How busy a replica is and when it last had something to do."""

    in_flight_count: int = 0
    last_used: float = 0.0


@dataclass(frozen=True, slots=True)
class Use:
    """How many requests a replica has let in so far, and how long the latest that said so wished it to stay."""

    started_count: int = 0
    keep_alive_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """What a replica said last of itself, and when; `stalled_seconds` is for how long the request that it serves worst
    has been without a token.
    """

    time: float = float("-inf")
    in_flight_count: int = 0
    stalled_seconds: float = 0.0


_NO_ACTIVITY = Activity()
_NO_USE = Use()
# A worker whose reports come is heard by some router at least this often: what that one did not object to is gone.
_LINGER_SECONDS = 30.0


@dataclass(slots=True)
class Unstored:
    """State by replica or node id; times are seconds of the router's monotonic clock."""

    activity: dict[str, Activity] = field(default_factory=dict)
    words: dict[str, Word] = field(default_factory=dict)
    uses: dict[str, Use] = field(default_factory=dict)
    ready_since: dict[str, float] = field(default_factory=dict)
    aside: dict[str, tuple[Share, ...]] = field(default_factory=dict)
    # A node's devices as its last heartbeat measured them.
    devices: dict[str, tuple[Device, ...]] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    # What each replica of a node held by the node's last heartbeat, and which of them were loaded by then.
    measured: dict[str, dict[str, int]] = field(default_factory=dict)
    settled: dict[str, frozenset[str]] = field(default_factory=dict)
    # Memory of replicas that ended after the last heartbeat, by device.
    credit: dict[str, tuple[Share, ...]] = field(default_factory=dict)
    # Replicas without a row, by id, and since when: their rows went without a word of their worker here, or a heartbeat
    # that was late told of them. Their memory is not free yet.
    lingering: dict[str, dict[str, tuple[float, Replica]]] = field(default_factory=dict)
    needs: Needs = field(default_factory=Needs)
    load_heard: dict[str, float] = field(default_factory=dict)
    full_devices: dict[str, tuple[FullDevice, ...]] = field(default_factory=dict)
    # Of models whose files have to be brought to nodes; replaced as a whole.
    files: Mapping[str, ModelFiles] = field(default_factory=dict)
    stories: Stories = field(default_factory=Stories)

    def use(self, replica_id: str, in_flight_count: int, now: float) -> bool:
        """Note how busy a replica is; tells whether that is news."""
        before = self.activity.get(replica_id, _NO_ACTIVITY)
        if before.in_flight_count == in_flight_count:
            return False
        self.activity[replica_id] = Activity(in_flight_count, now)
        return True

    def note_use(self, replica_id: str, use: Use, now: float) -> bool:
        """Note what requests a replica has had, also those too short to be seen; tells whether that is news."""
        before = self.uses.get(replica_id)
        if use == before:
            return False
        self.uses[replica_id] = use
        if before is not None and use.started_count != before.started_count:
            busy = self.activity.get(replica_id, _NO_ACTIVITY).in_flight_count
            self.activity[replica_id] = Activity(busy, now)
        return True

    def measure(
        self, node_id: str, devices: tuple[Device, ...], reported: Iterable[Replica], disk: Disk | None
    ) -> None:
        """Take over what a heartbeat measured of a node's devices, of its disk and of its replicas."""
        there = tuple(reported)
        if devices:
            self.devices[node_id] = devices
        if disk:
            self.disks[node_id] = disk
        loaded = [r for r in there if r.state is not ReplicaState.LOADING and r.memory_bytes]
        # Of one that has just been loaded nothing is told until it is measured anew: it holds what it held before.
        before = self.measured.get(node_id, {})
        self.measured[node_id] = {r.id: r.memory_bytes or before.get(r.id, 0) for r in there}
        self.settled[node_id] = frozenset(r.id for r in loaded)
        self.credit.pop(node_id, None)

    def free(self, replica: Replica, devices: tuple[Device, ...]) -> None:
        """Credit a node with what its last heartbeat showed of a replica whose process has ended."""
        shown = self.view(replica, devices).holding.shown
        self.measured.get(replica.node_id, {}).pop(replica.id, None)
        free = {share.device_id: share.size_bytes for share in self.credit.get(replica.node_id, ())}
        for share in shown:
            free[share.device_id] = free.get(share.device_id, 0) + share.size_bytes
        self.credit[replica.node_id] = tuple(Share(*item) for item in free.items())

    def linger(self, replica: Replica, now: float) -> None:
        """Note that a row went; the node's heartbeats may go to another router, which knows that it may."""
        self.lingering.setdefault(replica.node_id, {})[replica.id] = (now, replica)

    def linger_on(self, node_id: str, rowless: Iterable[Replica], now: float) -> None:
        """Note which replicas without a row a heartbeat showed; where each is, its row said while there was one."""
        before = self.lingering.pop(node_id, {})
        for replica in rowless:
            self.linger(before[replica.id][1] if replica.id in before else replica, now)

    def has_row(self, replica: Replica) -> None:
        """Note that a replica has a row, which accounts for its memory."""
        self.lingering.get(replica.node_id, {}).pop(replica.id, None)

    def settled_by(self, node_id: str, now: float) -> list[Replica]:
        """What has lingered for long on a node that is heard; it does so no more."""
        there = self.lingering.get(node_id)
        if not there:
            return []
        ripe = [replica for since, replica in there.values() if now - since >= _LINGER_SECONDS]
        for replica in ripe:
            del there[replica.id]
        return ripe

    def learn_all(
        self,
        reported: Iterable[Replica],
        rows: Mapping[str, Replica],
        models: Mapping[str, Model],
        devices: tuple[Device, ...],
    ) -> None:
        """Learn from what the replicas of a node hold that are loaded; where each is, its row says."""
        for replica in reported:
            row = rows.get(replica.id)
            if row is not None and replica.state is not ReplicaState.LOADING:
                held = replace(row, memory_bytes=replica.memory_bytes)
                self.learn(held, models.get(row.model), devices)

    def learn(self, replica: Replica, model: Model | None, devices: tuple[Device, ...]) -> None:
        """Remember what a model really needs, by a replica whose row says where it is."""
        kind = kind_held(devices, replica.shares)
        if not replica.memory_bytes or not kind:
            return
        current = model is not None and model.revision == replica.revision
        expected = estimate(model, kind) if model is not None and current else 0
        self.needs.learn(
            Need(replica.model, replica.revision, kind, replica.memory_bytes, expected, replica_id=replica.id)
        )

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
            keep_alive_seconds=self.uses.get(replica.id, _NO_USE).keep_alive_seconds,
        )

    def forget_replica(self, replica: Replica) -> None:
        """Drop what was known of a replica that is gone."""
        for known in (self.activity, self.uses, self.words, self.ready_since, self.aside):
            known.pop(replica.id, None)
        self.stories.forget(replica.id)
        self.needs.ended(replica)

    def forget_memory(self, node_id: str) -> None:
        """Drop what was measured before a worker registered anew."""
        for known in (self.devices, self.disks, self.measured, self.settled, self.credit, self.lingering):
            known.pop(node_id, None)

    def forget_node(self, node_id: str) -> None:
        """Drop what was known of a node that is gone."""
        self.forget_memory(node_id)
        self.load_heard.pop(node_id, None)
        self.full_devices.pop(node_id, None)
        self.stories.forget(node_id)
