"""The fleet as one router knows it: what PostgreSQL holds, plus what workers said lately.

State: everything in `Fleet`. Durable facts come in by `apply`, in the order of their sequences; `hear`, `report`,
`measure`, `set_aside` and `freed` bring what is never stored. All reads are synchronous and need no lock. What
decisions need is kept by node and by model, so that a change costs what changed and not what there is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from weft_router.fleet.budget import within_admin_budget
from weft_router.fleet.entities import Changes, Device, Disk, Model, Node, Replica, ReplicaState, Share
from weft_router.fleet.files import ModelFiles
from weft_router.fleet.groups import lacking, leave
from weft_router.fleet.load_job import LoadJob
from weft_router.fleet.memory import FullDevice
from weft_router.fleet.needs import Needs
from weft_router.fleet.policy import Policy
from weft_router.fleet.unstored import Unstored, Use, Word
from weft_router.fleet.views import Catalog, NodeView, Snapshot, node_view


@dataclass(slots=True)
class _Index:
    """The same facts by node and by model. Mappings that snapshots share are replaced, never changed."""

    of_node: dict[str, dict[str, None]] = field(default_factory=dict)
    model_ids: dict[str, dict[str, None]] = field(default_factory=dict)
    of_model: Mapping[str, tuple[Replica, ...]] = field(default_factory=dict)
    troubled: dict[str, None] = field(default_factory=dict)
    catalog: Catalog = field(default_factory=Catalog)
    views: dict[str, NodeView] = field(default_factory=dict)
    # Nodes whose view is out of date, in order, so that equal histories give equal snapshots; and whether anything at
    # all has changed since the last one.
    dirty: dict[str, None] = field(default_factory=dict)
    changed: bool = True
    # Minima that hold for now, beside those of policies.
    floors: Mapping[str, int] = field(default_factory=dict)
    last: Snapshot = field(default_factory=Snapshot)


@dataclass(slots=True)
class Fleet:
    """Nodes, replicas, models and policies by identity; `heard` is seconds of the router's monotonic clock.

    `nodes` are as their rows are, and what is written back must come from here: the nodes of a snapshot's views have
    the free memory of the last heartbeat, which other routers would take for that of the registration.
    """

    sequence: int = 0
    nodes: dict[str, Node] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    loads: dict[str, LoadJob] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    _unstored: Unstored = field(default_factory=Unstored, compare=False, repr=False)
    _index: _Index = field(default_factory=_Index, compare=False, repr=False)

    def apply(self, changes: Changes, now: float = 0.0) -> None:
        """Take over durable changes; those that are known already do no harm."""
        for node in changes.nodes:
            self._put_node(node, changes.sequence)
        for node_id in changes.gone_nodes:
            self._drop_node(node_id)
        self._put_catalog(changes)
        self.loads.update((job.id, job) for job in changes.loads)
        for job_id in changes.gone_loads:
            self.loads.pop(job_id, None)
        touched = {r.model: None for r in changes.replicas}
        for replica in changes.replicas:
            self._put_replica(replica, changes.sequence, now)
        for replica_id in changes.gone_replicas:
            touched |= dict.fromkeys(self._drop_replica(replica_id, now))
        if touched:
            self._group(touched)
        self.sequence = max(self.sequence, changes.sequence)
        self._index.changed = True

    def hear(self, node_id: str, now: float) -> None:
        """Note that a node was heard from."""
        self.heard[node_id] = now

    def report(
        self,
        node_id: str,
        busy: Mapping[str, int],
        now: float,
        *,
        stalled: Mapping[str, float] | None = None,
    ) -> None:
        """Take a worker's word on how many requests are at its replicas; those it leaves out are as they were.

        `stalled` is how many seconds the request that is served worst has been without a token; who is left out there
        has none such.
        """
        self._unstored.load_heard[node_id] = now
        self._index.changed = True
        for replica in self._unstored.settled_by(node_id, now):
            self._free(replica)
        for replica_id, count in busy.items():
            if replica_id in self.replicas:
                if self._unstored.use(replica_id, count, now):
                    self._index.dirty[node_id] = None
                self._unstored.words[replica_id] = Word(now, count, (stalled or {}).get(replica_id, 0.0))

    def note_uses(
        self, node_id: str, uses: Mapping[str, Use], now: float, *, full: tuple[FullDevice, ...] = ()
    ) -> None:
        """Take a worker's word on what its replicas were used for, and on where too much memory is in use."""
        self._index.changed = True
        self._unstored.full_devices.pop(node_id, None)
        if full:
            self._unstored.full_devices[node_id] = full
        for replica_id, use in uses.items():
            if replica_id in self.replicas and self._unstored.note_use(replica_id, use, now):
                self._index.dirty[node_id] = None

    def measure(
        self,
        node_id: str,
        devices: tuple[Device, ...],
        reported: Iterable[Replica],
        disk: Disk | None = None,
    ) -> None:
        """Take a heartbeat's word on memory and disk; what is free moves all the time, so it is never stored.

        `reported` are the node's replicas as their worker sees them: state and measured memory at that moment.
        """
        if node_id in self.nodes:
            there = tuple(reported)
            self._unstored.measure(node_id, devices, there, disk)
            rowless = (r for r in there if r.id not in self.replicas)
            self._unstored.linger_on(node_id, rowless, self.heard.get(node_id, 0.0))
            held = self._measured(self.nodes[node_id]).devices
            self._unstored.learn_all(there, self.replicas, self.models, held)
            self._touch(node_id)

    def set_aside(self, replica_id: str, shares: tuple[Share, ...]) -> None:
        """Hold memory for a load whose row does not say what it needs; it lapses with the replica, or with ()."""
        self._unstored.aside[replica_id] = shares
        if not shares:
            del self._unstored.aside[replica_id]
        if replica_id in self.replicas:
            self._touch(self.replicas[replica_id].node_id)

    def freed(self, replica_id: str) -> None:
        """Count a replica's memory as free as soon as its row goes: its worker says that the process has ended.

        To be called while the row is there. Without it the memory is free from the next heartbeat on, or, at a router
        that does not get the node's heartbeats, after a while of load reports.
        """
        if replica_id in self.replicas:
            self._free(self.replicas[replica_id])

    def hold(self, floors: Mapping[str, int]) -> None:
        """Keep at least so many replicas of models from now on; what was said before holds no longer.

        Decisions then see policies with these minima; `policies` stay as they were set.
        """
        if floors != self._index.floors:
            self._index.floors = dict(floors)
            self._index.catalog = self._catalog()
            self._index.changed = True

    def note_files(self, files: Mapping[str, ModelFiles]) -> None:
        """Take what is known of models' files by now; what was said before holds no longer."""
        if files != self._unstored.files:
            self._unstored.files, self._index.changed = files, True

    def snapshot(self) -> Snapshot:
        """The fleet at this moment; the same value as before while nothing has changed."""
        index = self._index
        if not index.changed:
            return index.last
        for node_id in index.dirty:
            if node_id in self.nodes:
                index.views[node_id] = self._node_view(self.nodes[node_id])
            else:
                index.views.pop(node_id, None)
        index.dirty.clear()
        index.last = Snapshot(
            revision=self.sequence,
            views=tuple(index.views.values()),
            by_id=dict(index.views),
            of_model=index.of_model,
            catalog=index.catalog,
            needs=self._unstored.needs.copy(),
            load_heard=self._unstored.load_heard.copy(),
            full_devices=self._unstored.full_devices.copy(),
            files=self._unstored.files,
        )
        index.changed = False
        return index.last

    def everything(self) -> Changes:
        """The whole fleet as one change."""
        return Changes(
            sequence=self.sequence,
            nodes=tuple(self.nodes.values()),
            replicas=tuple(self.replicas.values()),
            models=tuple(self.models.values()),
            policies=tuple(self.policies.values()),
            loads=tuple(self.loads.values()),
        )

    def replaced_by(self, everything: Changes) -> Changes:
        """A complete state as a change of this one: what is not in it is gone."""
        return replace(
            everything,
            gone_nodes=lacking(self.nodes, (n.id for n in everything.nodes)),
            gone_replicas=lacking(self.replicas, (r.id for r in everything.replicas)),
            gone_models=lacking(self.models, (m.name for m in everything.models)),
            gone_policies=lacking(self.policies, (p.model for p in everything.policies)),
            gone_loads=lacking(self.loads, (j.id for j in everything.loads)),
        )

    @property
    def needs(self) -> Needs:
        """What models were seen to need; it may be added to, and the next snapshot knows of it."""
        self._index.changed = True
        return self._unstored.needs

    def story_of(self, identity: str) -> str:
        """What happened to a node or a replica so far, by its id."""
        return self._unstored.stories.tell(identity)

    def node_named(self, name: str) -> Node | None:
        """The node of that name."""
        return next((n for n in self.nodes.values() if n.name == name), None)

    def replicas_on(self, node_id: str) -> list[Replica]:
        """Every replica on a node, in any state."""
        return [self.replicas[i] for i in self._index.of_node.get(node_id, ())]

    def loading_on(self, node_id: str) -> frozenset[str]:
        """Replicas on a node that a load under way, of any router, answers for."""
        return frozenset(j.replica_id for j in self.loads.values() if j.under_way and j.node_id == node_id)

    def troubled(self) -> list[Replica]:
        """Replicas with a problem, in any state."""
        return [self.replicas[i] for i in self._index.troubled]

    def word_of(self, replica_id: str) -> Word:
        """What a replica's last report says."""
        return self._unstored.words.get(replica_id, Word())

    def would_serve(self, replica: Replica) -> bool:
        """Whether a replica may serve its model, or might if its node's heartbeats were not late."""
        snapshot = self.snapshot()
        return replica in snapshot.serving(replica.model) or replica in snapshot.serving_late(replica.model)

    def ready_replicas(self, model: str) -> list[Replica]:
        """Replicas that may serve the model: ready, of its current revision, on a healthy node that it may use.

        Where there are none, those on nodes whose heartbeats are late: they keep what they run.
        """
        snapshot = self.snapshot()
        return list(snapshot.serving(model) or snapshot.serving_late(model))

    def _free(self, replica: Replica) -> None:
        if replica.node_id in self.nodes:
            self._unstored.free(replica, self._measured(self.nodes[replica.node_id]).devices)
            self._touch(replica.node_id)

    def _put_node(self, node: Node, sequence: int) -> None:
        before = self.nodes.get(node.id)
        if before is not None and before.generation != node.generation:
            # The row has the free memory of the new registration.
            self._unstored.forget_memory(node.id)
        self.nodes[node.id] = node
        self._unstored.stories.note(node.id, f"#{sequence} {node.state}")
        self._touch(node.id)

    def _drop_node(self, node_id: str) -> None:
        self.nodes.pop(node_id, None)
        self.heard.pop(node_id, None)
        self._unstored.forget_node(node_id)
        self._touch(node_id)

    def _put_catalog(self, changes: Changes) -> None:
        self.models.update((m.name, m) for m in changes.models)
        self.policies.update((p.model, p) for p in changes.policies)
        for name in changes.gone_models:
            self.models.pop(name, None)
        for name in changes.gone_policies:
            self.policies.pop(name, None)
        names = (*(m.name for m in changes.models), *(p.model for p in changes.policies))
        touched = dict.fromkeys((*names, *changes.gone_models, *changes.gone_policies))
        if touched:
            self._index.catalog = self._catalog()
        for name in touched:
            self._index.dirty.update((r.node_id, None) for r in self._index.of_model.get(name, ()))

    def _catalog(self) -> Catalog:
        policies = self.policies.copy()
        for name, least in self._index.floors.items():
            if name in policies and policies[name].min_replicas < least:
                policies[name] = replace(policies[name], min_replicas=least)
        return Catalog(self.models.copy(), policies)

    def _put_replica(self, replica: Replica, sequence: int, now: float) -> None:
        """A replica never changes its node or its model."""
        self.replicas[replica.id] = replica
        self._unstored.has_row(replica)
        self._index.of_node.setdefault(replica.node_id, {})[replica.id] = None
        self._index.model_ids.setdefault(replica.model, {})[replica.id] = None
        if replica.state is ReplicaState.READY:
            self._unstored.ready_since.setdefault(replica.id, now)
            if (node := self.nodes.get(replica.node_id)) is not None:
                self._unstored.learn(replica, self.models.get(replica.model), self._measured(node).devices)
        if replica.problem:
            self._index.troubled[replica.id] = None
        else:
            self._index.troubled.pop(replica.id, None)
        self._unstored.stories.note(replica.id, f"#{sequence} {replica.state} {replica.problem}".rstrip())
        self._touch(replica.node_id)

    def _drop_replica(self, replica_id: str, now: float) -> tuple[str, ...]:
        """Forget a replica; tells whose it was."""
        replica = self.replicas.pop(replica_id, None)
        if replica is None:
            return ()
        if replica.node_id in self.nodes:
            self._unstored.linger(replica, now)
        self._index.troubled.pop(replica_id, None)
        leave(self._index.of_node, replica.node_id, replica_id)
        leave(self._index.model_ids, replica.model, replica_id)
        self._unstored.forget_replica(replica)
        self._touch(replica.node_id)
        return (replica.model,)

    def _group(self, models: Iterable[str]) -> None:
        grouped = dict(self._index.of_model)
        for name in models:
            grouped[name] = tuple(
                r
                for i in self._index.model_ids.get(name, ())
                if (r := self.replicas[i]).state is not ReplicaState.FAILED
            )
            if not grouped[name]:
                del grouped[name]
        self._index.of_model = grouped

    def _measured(self, node: Node) -> Node:
        """The node with the free memory of its last heartbeat, and no more than an admin allows: never for its row."""
        devices = self._unstored.devices.get(node.id)
        disk = self._unstored.disks.get(node.id)
        if disk:
            node = replace(node, disk_total_bytes=disk.total_bytes, disk_free_bytes=disk.free_bytes)
        return within_admin_budget(replace(node, devices=devices) if devices else node)

    def _node_view(self, node: Node) -> NodeView:
        node = self._measured(node)
        there = [r for r in self.replicas_on(node.id) if r.state is not ReplicaState.FAILED]
        views = [self._unstored.view(r, node.devices) for r in there]
        return node_view(node, views, self._index.catalog, self._unstored.credit.get(node.id, ()))

    def _touch(self, node_id: str) -> None:
        self._index.dirty[node_id] = None
        self._index.changed = True
