"""The fleet as one gateway knows it; every request is decided on this, without asking anybody.

State: everything in `FleetView`; its writers are `apply` (a router's updates), `merge` (a Route answer), `load` and
`gone` (workers' reports). What a request reads is prepared per model when something changes, so that a pick costs
no more in a large fleet than in a small one.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from weft_common.clock import Clock
from weft_common.load_view import LoadView
from weft_common.report_flow import Flows
from weft_gateway.replicas import Replicas
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_proto.pb.weft.routing.v1 import routing_service_pb2
from weft_proto.pb.weft.types.v1 import model_pb2, node_pb2, policy_pb2, replica_pb2

Update = routing_service_pb2.WatchFleetResponse
# A node whose heartbeats are late keeps what it runs, which is used where there is nothing better.
_SERVING = (node_pb2.NODE_STATE_HEALTHY, node_pb2.NODE_STATE_UNHEALTHY)

_NO_LIMIT = 1 << 31


@dataclass(slots=True)
class Target:
    """A replica that may serve, with what choice looks at; `now` of a choice is the clock's."""

    replica: replica_pb2.Replica
    node: node_pb2.Node
    load: LoadView
    clock: Clock

    @property
    def replica_id(self) -> str:
        return self.replica.id

    @property
    def in_flight_count(self) -> int:
        return self.load.in_flight_count(self.clock.monotonic())

    @property
    def slot_count(self) -> int:
        """Requests that it works on at once."""
        return self.replica.slot_count

    @property
    def limit(self) -> int:
        """Requests that it takes before it is full; none while it alone says nothing.

        While reports are missing everywhere nobody knows, and it queues itself.
        """
        now = self.clock.monotonic()
        if self.load.is_mute(now):
            return 0
        return _NO_LIMIT if self.load.is_blind(now) else self.slot_count

    @property
    def is_full(self) -> bool:
        """Whether no slot is free, as far as this gateway knows."""
        return self.in_flight_count >= self.limit

    @property
    def last_used(self) -> float:
        return self.load.last_used

    @property
    def free_memory_bytes(self) -> int:
        return max((d.free_memory_bytes for d in self.node.devices), default=0)


@dataclass(slots=True)
class FleetView:
    """Nodes, replicas, models and policies by identity, and ready targets by model."""

    clock: Clock
    gateway_id: str
    silent_seconds: float = 30.0
    sequence: int = 0
    fleet_id: str = ""
    # Until when, by the clock, the view may be used; None before there is one, endless once a router has told it.
    expiry: float | None = None
    # When a router last told anything, by the clock.
    told: float = float("-inf")
    # Whether a router tells who was heard from; while none does, silence says nothing about a node.
    watched: bool = False
    # Whether that router is cut off from the database, so that it may not know what is new.
    stale: bool = False
    # How long a replica may be idle of which nobody says it, in seconds; infinite for ever.
    keep_alive: float = float("inf")
    models: dict[str, model_pb2.Model] = field(default_factory=dict)
    policies: dict[str, policy_pb2.Policy] = field(default_factory=dict)
    _nodes: dict[str, node_pb2.Node] = field(default_factory=dict)
    _replicas: Replicas = field(default_factory=Replicas)
    _loads: dict[str, LoadView] = field(default_factory=dict)
    _heard: dict[str, float] = field(default_factory=dict)
    _flows: Flows = field(default_factory=Flows)
    _gone: dict[str, float] = field(default_factory=dict)
    _targets: dict[str, list[Target]] = field(default_factory=dict)
    # Set and replaced whenever the sequence rises.
    _risen: asyncio.Event = field(default_factory=asyncio.Event)

    def apply(self, update: Update) -> None:
        """Take a router's update; what is known already is passed over, so that time never runs back."""
        self.told = self.clock.monotonic()
        if self._is_past(update):
            self._hear(update)
            return
        if update.full:
            self._replace_all(update)
        touched = self._put(update.nodes, update.replicas, update.models)
        touched |= self._put_policies(update)
        touched |= self._remove(update)
        self.expiry = float("inf")
        self._hear(update)
        self._prepare(touched)
        self._rise(update.sequence)

    @property
    def level(self) -> bool:
        """Whether what is missing here is missing in the fleet."""
        return self.watched and not self.stale

    @property
    def known(self) -> bool:
        """Whether there is a view to decide on."""
        return self.expiry is not None and self.clock.monotonic() < self.expiry

    async def reach(self, sequence: int, timeout_seconds: float) -> None:
        """Wait until the view is as new as `sequence`, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self.sequence < sequence:
                    await self._risen.wait()

    def expire_at(self, moment: float) -> None:
        """Bound the use of a view that no router has confirmed."""
        self.expiry = moment

    def merge(self, answer: routing_service_pb2.RouteResponse) -> None:
        """Take what a router answers where it is ahead of the watch; behind it, some may be gone by now."""
        if answer.sequence < self.sequence:
            return
        for replica in answer.replicas:
            self._gone.pop(replica.id, None)
        self._prepare(self._put(answer.nodes, answer.replicas, ()))

    def load(self, report: reports_pb2.LoadReport) -> None:
        """Take a worker's report of how busy its replicas are."""
        now = self.clock.monotonic()
        self._heard[report.node_id] = now
        self._flows.of(report.node_id).report(now)
        for entry in report.replicas:
            own = next((p for p in entry.picks if p.gateway_id == self.gateway_id), None)
            view = self._loads.get(entry.replica_id)
            if view is not None:
                busy = entry.in_flight_count + entry.queued_count
                view.report(busy, own.contiguous if own else 0, own.beyond if own else (), now)
        self.gone(report.gone_replica_ids)

    def gone(self, replica_ids: Iterable[str]) -> None:
        """Stop using replicas whose process ended; the fleet's own state follows a moment later."""
        touched = set()
        for replica_id in replica_ids:
            self._gone[replica_id] = self.clock.monotonic()
            if replica_id in self._replicas.by_id:
                touched.add(self._replicas.by_id[replica_id].model)
        self._prepare(touched)

    def targets(self, model: str) -> list[Target]:
        """Ready replicas of the model on nodes that were heard from lately; mute ones only if there are no others.

        Whether one that says nothing any more hangs is for its agent to find out, which takes a while.
        """
        now = self.clock.monotonic()
        found = [t for t in self._targets.get(model, ()) if not self._silent(t)]
        return [t for t in found if not t.load.is_mute(now)] or found

    def silent_targets(self, model: str) -> list[Target]:
        """Ready replicas of the model whose nodes were not heard from lately, or that no router gets through to."""
        return [t for t in self._targets.get(model, ()) if self._silent(t)]

    def unreached_targets(self, model: str) -> list[Target]:
        """Those among them whose nodes are heard from, though no router gets through to the replicas."""
        return [t for t in self.silent_targets(model) if t.replica.unreachable and not self._unheard(t)]

    def last_targets(self, model: str) -> list[Target]:
        """All that may still run of the model, whatever is said of it or of its node: for want of anybody to ask."""
        return list(self._ready(model, troubled=True))

    def suspects(self, model: str) -> list[str]:
        """Replicas of the model that a router should look at before it offers them again."""
        known = self._replicas.by_id
        gone = [i for i in self._gone if i in known and known[i].model == model]
        return gone + [t.replica_id for t in self.silent_targets(model)]

    def node_of(self, replica_id: str) -> node_pb2.Node | None:
        """The node that a replica runs on."""
        replica = self._replicas.by_id.get(replica_id)
        return self._nodes.get(replica.node_id) if replica else None

    def running(self) -> Iterator[tuple[model_pb2.Model, list[tuple[replica_pb2.Replica, node_pb2.Node]]]]:
        """Models that are loaded, with their ready replicas and where these are."""
        for name, targets in self._targets.items():
            yield self.models[name], [(target.replica, target.node) for target in targets]

    def everything(self) -> Update:
        """The whole view as one full update."""
        update = Update(
            sequence=self.sequence,
            full=True,
            fleet_id=self.fleet_id,
            nodes=self._nodes.values(),
            replicas=self._replicas.by_id.values(),
            models=self.models.values(),
            policies=self.policies.values(),
        )
        if self.keep_alive != float("inf"):
            update.keep_alive.FromMilliseconds(int(self.keep_alive * 1000))
        return update

    def _rise(self, sequence: int) -> None:
        if sequence > self.sequence:
            self.sequence = sequence
            self._risen.set()
            self._risen = asyncio.Event()

    def _is_past(self, update: Update) -> bool:
        """A router that lags behind the one that was watched before sends what is older than this view."""
        if update.full:
            return update.sequence < self.sequence and update.fleet_id == self.fleet_id
        return 0 < update.sequence <= self.sequence

    def _silent(self, target: Target) -> bool:
        return bool(target.replica.unreachable) or self._unheard(target)

    def _unheard(self, target: Target) -> bool:
        if target.node.state == node_pb2.NODE_STATE_UNHEALTHY:
            return True
        heard = self._heard.get(target.node.id, float("-inf"))
        return self.watched and self.clock.monotonic() - heard > self.silent_seconds

    def _replace_all(self, update: Update) -> None:
        if update.fleet_id != self.fleet_id:
            self.fleet_id, self.sequence = update.fleet_id, 0
        told = update.HasField("keep_alive")
        self.keep_alive = update.keep_alive.ToMilliseconds() / 1000 if told else float("inf")
        self.models = {}
        self.policies = {}
        self._nodes = {}
        self._replicas = Replicas()
        self._targets = {}

    def _put(
        self,
        nodes: Iterable[node_pb2.Node],
        replicas: Iterable[replica_pb2.Replica],
        models: Iterable[model_pb2.Model],
    ) -> set[str]:
        touched = set()
        for node in nodes:
            self._nodes[node.id] = node
            touched |= self._replicas.models_on(node.id)
        for replica in replicas:
            self._replicas.put(replica)
            self._loads.setdefault(replica.id, LoadView(self._flows.of(replica.node_id)))
            touched.add(replica.model)
        for model in models:
            self.models[model.name] = model
            touched.add(model.name)
        return touched

    def _put_policies(self, update: Update) -> set[str]:
        self.policies.update((policy.model_name, policy) for policy in update.policies)
        for name in update.removed_policies:
            self.policies.pop(name, None)
        return {policy.model_name for policy in update.policies}.union(update.removed_policies)

    def _remove(self, update: Update) -> set[str]:
        touched = set(update.removed_models)
        for name in update.removed_models:
            self.models.pop(name, None)
        for replica_id in update.removed_replica_ids:
            replica = self._replicas.drop(replica_id)
            self._loads.pop(replica_id, None)
            if replica is not None:
                touched.add(replica.model)
        for node_id in update.removed_node_ids:
            self._nodes.pop(node_id, None)
            self._heard.pop(node_id, None)
            touched |= self._replicas.models_on(node_id)
        known = self._replicas.by_id
        if update.full:
            self._loads = {i: load for i, load in self._loads.items() if i in known}
        if update.full or update.removed_node_ids:
            self._flows.forget_others(self._nodes)
        if self._gone:
            self._gone = {i: time for i, time in self._gone.items() if i in known}
        return touched

    def _hear(self, update: Update) -> None:
        now = self.clock.monotonic()
        for heard in update.heard:
            moment = now - heard.age.ToTimedelta().total_seconds()
            self._heard[heard.node_id] = max(moment, self._heard.get(heard.node_id, moment))
            self._flows.of(heard.node_id).hear(moment)

    def _prepare(self, models: Iterable[str]) -> None:
        for name in models:
            self._targets[name] = list(self._ready(name))
            if not self._targets[name]:
                del self._targets[name]

    def _ready(self, name: str, *, troubled: bool = False) -> Iterator[Target]:
        model, policy = self.models.get(name), self.policies.get(name)
        selector = policy.node_selector.items() if policy is not None else ()
        for replica in self._replicas.of_model(name) if model else ():
            node = self._nodes.get(replica.node_id)
            if (
                model is not None
                and replica.revision == model.revision
                and replica.state == replica_pb2.REPLICA_STATE_READY
                and replica.id not in self._gone
                and (troubled or not replica.problem)
                and node is not None
                and (node.state in _SERVING or (troubled and node.state == node_pb2.NODE_STATE_OFFLINE))
                and all(node.labels.get(key) == value for key, value in selector)
            ):
                yield Target(replica, node, self._loads[replica.id], self.clock)
