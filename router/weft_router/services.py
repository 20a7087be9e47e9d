"""The router's rpcs: decode, authorize, one call, encode."""

from collections.abc import AsyncIterator
from datetime import timedelta

from weft_common.clock import Clock
from weft_common.errors import InvalidRequest, ModelNotFound, NodeNotFound, PartUnavailable
from weft_common.rpc import current_call
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.weft.admin.v1 import (
    LoadModelRequest,
    LoadModelResponse,
    NodeAdminServiceBase,
    UnloadModelRequest,
    UnloadModelResponse,
)
from weft_proto.weft.node.v1 import (
    HeartbeatRequest,
    HeartbeatResponse,
    NodeServiceBase,
    RegisterNodeRequest,
    RegisterNodeResponse,
)
from weft_proto.weft.types.v1 import NodeState as NodeStateMessage
from weft_router import convert
from weft_router.fleet.entities import Model, Node, NodeState, Replica, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.loads import Loads
from weft_router.probe import Probe
from weft_router.registry import Registry
from weft_router.settings import RouterSettings
from weft_router.sync import FleetSync
from weft_router.unloads import Unloads

_HTTP_STATUS = "x-weft-http-status"
_LOADS_PER_CALL = 3


class NodeService(NodeServiceBase):
    """weft.node.v1.NodeService."""

    def __init__(self, *, registry: Registry, loads: Loads, settings: RouterSettings) -> None:
        self._registry = registry
        self._loads = loads
        self._settings = settings

    async def register_node(self, message: RegisterNodeRequest) -> RegisterNodeResponse:
        node, token = await self._registry.register(message, _bearer())
        current_call().set_initial_metadata([(_HTTP_STATUS, "201")])
        nats_url = self._settings.nats_advertise_url or self._settings.nats_url
        # Both open the mesh: with one a node could command others, with the other it could sign tickets.
        entrusted = node.state is not NodeState.PENDING
        return RegisterNodeResponse(
            node=convert.node_message(node),
            node_token=token,
            nats_url=nats_url.get_secret_value() if entrusted else "",
            mesh_secret=self._settings.mesh_secret.get_secret_value() if entrusted else "",
            heartbeat_interval=self._settings.heartbeat_interval,
            generation=node.generation,
        )

    async def heartbeat(self, message: HeartbeatRequest) -> HeartbeatResponse:
        node, stop = await self._registry.heartbeat(message, _bearer(), self._loads.under_way)
        return HeartbeatResponse(
            state=NodeStateMessage[node.state.name],
            stop_replica_ids=list(stop),
            generation=node.generation,
            heartbeat_interval=self._settings.heartbeat_interval,
        )


class NodeAdminService(NodeAdminServiceBase):
    """weft.admin.v1.NodeAdminService."""

    def __init__(self, *, fleet: Fleet, loads: Loads, unloads: Unloads, settings: RouterSettings) -> None:
        self._fleet = fleet
        self._loads = loads
        self._unloads = unloads
        self._settings = settings

    async def load_model(self, message: LoadModelRequest) -> LoadModelResponse:
        model, node = self._model(message.model_name), self._node(message.node)
        replica = await self._loads.add(model, node, self._settings.load_wait.total_seconds())
        return LoadModelResponse(replica=convert.replica_message(replica))

    async def unload_model(self, message: UnloadModelRequest) -> UnloadModelResponse:
        node = self._node(message.node)
        running = [r for r in self._fleet.replicas.values() if r.model == message.model_name]
        if not running:
            self._model(message.model_name)
        there = [
            r
            for r in running
            if r.state is ReplicaState.READY and node in (None, self._fleet.nodes.get(r.node_id))
        ]
        marked = await self._unloads.unload(there, force=message.force)
        return UnloadModelResponse(replicas=[convert.replica_message(r) for r in marked])

    def _model(self, name: str) -> Model:
        model = self._fleet.models.get(name)
        if model is None:
            raise ModelNotFound(f"The model '{name}' does not exist")
        return model

    def _node(self, wanted: str | None) -> Node | None:
        """A node by id or name."""
        if not wanted:
            return None
        node = self._fleet.nodes.get(wanted) or self._fleet.node_named(wanted)
        if node is None:
            raise NodeNotFound(f"There is no node '{wanted}'.")
        return node


class RoutingService:
    """weft.routing.v1.RoutingService, on upb classes since its messages grow with the fleet."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        loads: Loads,
        sync: FleetSync,
        probe: Probe,
        settings: RouterSettings,
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._loads = loads
        self._sync = sync
        self._probe = probe
        self._settings = settings
        self._clock = clock

    async def route(self, request: pb.RouteRequest) -> pb.RouteResponse:
        model = self._fleet.models.get(request.model)
        if model is None:
            self._require_known()
            raise ModelNotFound(f"The model '{request.model}' does not exist")
        await self._probe.forget_dead(list(request.suspect_replica_ids))
        replicas = await self._ready(model, self._patience(request))
        if not replicas:
            raise PartUnavailable(
                f"Model '{model.name}' was loaded and is gone again; try again.",
                retry_after=timedelta(seconds=1),
            )
        return pb.RouteResponse(
            replicas=[convert.replica_pb(r) for r in replicas], sequence=self._fleet.sequence
        )

    async def _ready(self, model: Model, patience: float) -> list[Replica]:
        """Ready replicas; a model file that changes during the load has the new content loaded, a few times."""
        for _ in range(_LOADS_PER_CALL):
            if replicas := self._fleet.ready_replicas(model.name):
                return replicas
            await self._loads.ensure(self._fleet.models.get(model.name, model), patience)
        return self._fleet.ready_replicas(model.name)

    async def watch_fleet(self, request: pb.WatchFleetRequest) -> AsyncIterator[pb.WatchFleetResponse]:
        if not request.gateway_id:
            raise InvalidRequest("gateway_id: a gateway's identity is needed")
        self._require_known()
        async for update in self._sync.watch(self._clock.monotonic()):
            yield update

    def _require_known(self) -> None:
        if not self._sync.known.is_set():
            raise PartUnavailable(
                "This router has not read the fleet yet: PostgreSQL cannot be reached.",
                retry_after=timedelta(seconds=1),
                metadata={"part": "postgres"},
            )

    def _patience(self, request: pb.RouteRequest) -> float:
        limit = self._settings.load_wait.total_seconds()
        if not request.HasField("max_wait"):
            return limit
        return min(limit, request.max_wait.ToTimedelta().total_seconds())


def _bearer() -> str | None:
    scheme, _, token = current_call().metadata.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None
