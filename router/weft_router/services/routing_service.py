"""What gateways ask when they have no replica to pick, and how they follow the fleet."""

from collections.abc import AsyncIterator
from datetime import timedelta

from weft_common.clock import Clock
from weft_common.errors import InvalidRequest, ModelNotFound, NotLoading, PartUnavailable
from weft_common.events import Journal
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_router import convert
from weft_router.fleet.entities import Model, Replica
from weft_router.fleet.fleet import Fleet
from weft_router.loading.loads import Loads
from weft_router.probe import Probe
from weft_router.refusals import telling_refusals
from weft_router.settings import RouterSettings
from weft_router.sync import FleetSync

_LOADS_PER_CALL = 3


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
        journal: Journal,
    ) -> None:
        self._fleet = fleet
        self._loads = loads
        self._sync = sync
        self._probe = probe
        self._settings = settings
        self._clock = clock
        self._journal = journal

    async def route(self, request: pb.RouteRequest) -> pb.RouteResponse:
        # What is loaded is written, and what is gone is read: only a router that does both can tell.
        self.require_level()
        with telling_refusals(self._journal, request.model):
            return await self._routed(request)

    async def _routed(self, request: pb.RouteRequest) -> pb.RouteResponse:
        model = self.model(request.model)
        over = self._clock.monotonic() + self._patience(request)
        await self._probe.forget_dead(list(request.suspect_replica_ids))
        replicas = await self.ready(model, over)
        if not replicas:
            raise PartUnavailable(
                f"Model '{model.name}' was loaded and is gone again; try again.",
                retry_after=timedelta(seconds=1),
            )
        return self._answer(replicas)

    def model(self, name: str) -> Model:
        """The model of that name; raises ModelNotFound, and PartUnavailable where it may be new."""
        model = self._fleet.models.get(name)
        if model is None:
            self.require_level()
            raise ModelNotFound(f"The model '{name}' does not exist")
        return model

    def _answer(self, replicas: list[Replica]) -> pb.RouteResponse:
        nodes = [self._fleet.nodes[i] for i in dict.fromkeys(r.node_id for r in replicas)]
        return pb.RouteResponse(
            replicas=[convert.replica_pb(r) for r in replicas],
            sequence=self._fleet.sequence,
            nodes=[convert.node_pb(n) for n in nodes],
        )

    async def ready(self, model: Model, over: float) -> list[Replica]:
        """Ready replicas; a model file that changes during the load has the new content loaded, a few times.

        All of them share the caller's patience: it ends at `over`, by the clock.
        """
        for _ in range(_LOADS_PER_CALL):
            if replicas := self._fleet.ready_replicas(model.name):
                return replicas
            left = max(over - self._clock.monotonic(), 0.0)
            await self._loads.ensure(self._fleet.models.get(model.name, model), left)
        return self._fleet.ready_replicas(model.name)

    async def get_load_status(self, request: pb.GetLoadStatusRequest) -> pb.GetLoadStatusResponse:
        model = self.model(request.model)
        job = await self._loads.status(model.name)
        if job is None:
            raise NotLoading(f"'{model.name}' is not being loaded.")
        node = self._fleet.nodes.get(job.node_id)
        return pb.GetLoadStatusResponse(
            status=convert.load_status_pb(job, model, node.name if node else "", self._clock.wall())
        )

    async def watch_fleet(self, request: pb.WatchFleetRequest) -> AsyncIterator[pb.WatchFleetResponse]:
        if not request.gateway_id:
            raise InvalidRequest("gateway_id: a gateway's identity is needed")
        self._sync.require_known()
        watch = self._sync.watch(self._clock.monotonic(), stale_accepted=request.stale_accepted)
        async for update in watch:
            yield update

    def require_level(self) -> None:
        """Raise PartUnavailable where another router may know more of the fleet than this one."""
        self._sync.require_level()

    def _patience(self, request: pb.RouteRequest) -> float:
        limit = self._settings.load_wait.total_seconds()
        if not request.HasField("max_wait"):
            return limit
        return min(limit, request.max_wait.ToTimedelta().total_seconds())
