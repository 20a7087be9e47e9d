"""Builds a router from its settings and runs it until it is told to stop."""

import asyncio
import contextlib
import logging
from datetime import timedelta

from betterproto2.grpclib import ServiceBase

from weft_common.background import background
from weft_common.bus import open_bus
from weft_common.clock import SystemClock
from weft_common.errors import PartUnavailable
from weft_common.rpc import RpcServer, upb_stream, upb_unary
from weft_proto.pb.weft.admin.v1.node_admin_service_pb2 import ListNodesRequest, ListReplicasRequest
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.pb.weft.scheduling.v1.scheduling_service_pb2 import ExplainPlacementRequest
from weft_router.catalog import Catalog
from weft_router.fleet.fleet import Fleet
from weft_router.liveness import follow_loads
from weft_router.loading.commands import Commands
from weft_router.loading.loads import Loads, make_loads
from weft_router.nodes.parts import NodeParts, make_nodes
from weft_router.probe import Probe
from weft_router.reconciler import Reconciler
from weft_router.services.explain_service import ExplainService
from weft_router.services.node_admin_service import NodeAdminService
from weft_router.services.node_list_service import NodeListService
from weft_router.services.node_service import NodeService
from weft_router.services.routing_service import RoutingService
from weft_router.services.scheduling_service import SchedulingService
from weft_router.settings import RouterSettings
from weft_router.silence import Silence
from weft_router.store.postgres import open_store
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync
from weft_router.unloads import Unloads

_GRACE_SECONDS = 1.0
_PREPARE_RETRY_SECONDS = 0.1
_PURGE_SECONDS = 600.0
_GONE_FOR = timedelta(hours=1)
_SERVICE = "/weft.routing.v1.RoutingService/"
_ADMIN = "/weft.admin.v1.NodeAdminService/"
_SCHEDULING = "/weft.scheduling.v1.SchedulingService/"

_log = logging.getLogger(__name__)


async def run(settings: RouterSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; a crashed loop ends the process with its own exception."""
    async with (
        open_store(settings.postgres_url.get_secret_value()) as store,
        open_bus(settings.nats_url.get_secret_value(), name="router") as bus,
        asyncio.TaskGroup() as loads_group,
    ):
        fleet, clock = Fleet(), SystemClock()
        sync = FleetSync(store, bus, fleet, clock)
        catalog = Catalog(settings.models_path, store=store, sync=sync, fleet=fleet, clock=clock)
        commands = Commands(bus, install_seconds=settings.install_timeout.total_seconds())
        loads = make_loads(
            settings=settings,
            fleet=fleet,
            store=store,
            sync=sync,
            commands=commands,
            clock=clock,
            tasks=loads_group,
        )
        probe = Probe(settings=settings, fleet=fleet, store=store, sync=sync, clock=clock, tasks=loads_group)
        routing = RoutingService(
            fleet=fleet, loads=loads, sync=sync, probe=probe, settings=settings, clock=clock
        )
        unloads = Unloads(fleet=fleet, store=store, sync=sync, commands=commands)
        keep = make_nodes(
            settings=settings, fleet=fleet, store=store, sync=sync, unloads=unloads, clock=clock
        )
        services = _services(
            keep, settings=settings, fleet=fleet, store=store, sync=sync, loads=loads, unloads=unloads
        )
        silence = Silence(fleet=fleet, clock=clock, seconds=settings.node_silence.total_seconds())
        reconciler = Reconciler(
            fleet=fleet,
            store=store,
            sync=sync,
            loads=loads,
            unloads=unloads,
            clock=clock,
            scaling=settings.scaling_rules(),
            eviction=settings.eviction_rules(),
            silence=silence,
        )
        explains = ExplainService(
            fleet=fleet, sync=sync, silence=silence, rules=settings.eviction_rules(), clock=clock
        )
        lists = NodeListService(fleet=fleet, sync=sync, portraits=keep.portraits)
        async with _server(settings, services, routing, explains, lists) as server:
            async with background(
                _keep_level(store, sync),
                catalog.follow(),
                _announce(server, sync),
                loads.keep(),
                *keep.loops(),
                _reconcile(catalog, reconciler),
                follow_loads(bus, fleet, clock, sync.pulse.beat),
                _purge(store),
            ):
                await stop.wait()
            sync.close()
            await server.stop(_GRACE_SECONDS)
        loads.close()
        probe.close()


def _services(
    keep: NodeParts,
    *,
    settings: RouterSettings,
    fleet: Fleet,
    store: Store,
    sync: FleetSync,
    loads: Loads,
    unloads: Unloads,
) -> list[ServiceBase]:
    return [
        NodeService(registry=keep.registry, orders=keep.orders, portraits=keep.portraits, settings=settings),
        NodeAdminService(
            fleet=fleet,
            nodes=keep.nodes,
            orders=keep.orders,
            portraits=keep.portraits,
            loads=loads,
            unloads=unloads,
            settings=settings,
        ),
        SchedulingService(fleet=fleet, store=store, sync=sync),
    ]


def _server(
    settings: RouterSettings,
    services: list[ServiceBase],
    routing: RoutingService,
    explains: ExplainService,
    lists: NodeListService,
) -> RpcServer:
    server = RpcServer(
        services=services,
        upb=[
            upb_unary(f"{_SERVICE}Route", routing.route, pb.RouteRequest),
            upb_stream(f"{_SERVICE}WatchFleet", routing.watch_fleet, pb.WatchFleetRequest),
            upb_unary(f"{_SERVICE}GetLoadStatus", routing.get_load_status, pb.GetLoadStatusRequest),
            upb_unary(f"{_ADMIN}ListNodes", lists.list_nodes, ListNodesRequest),
            upb_unary(f"{_ADMIN}ListReplicas", lists.list_replicas, ListReplicasRequest),
            upb_unary(f"{_SCHEDULING}ExplainPlacement", explains.explain_placement, ExplainPlacementRequest),
        ],
        mesh_secret=settings.mesh_secret.get_secret_value(),
        # Admin calls come through Envoy, where Check gives the ones with a key the token of the mesh.
        mesh_only=[_SERVICE, _SCHEDULING, "/weft.admin.v1."],
    )
    server.listen(settings.listen)
    return server


async def _keep_level(store: Store, sync: FleetSync) -> None:
    """Prepare the database as soon as it can be reached, then follow it."""
    complained = False
    while True:
        try:
            sync.fleet_id = await store.prepare()
            break
        except PartUnavailable as error:
            if not complained:
                _log.warning("database_not_reachable", extra={"error": str(error)})
            complained = True
            await asyncio.sleep(_PREPARE_RETRY_SECONDS)
    await sync.follow()


async def _reconcile(catalog: Catalog, reconciler: Reconciler) -> None:
    """Bring replicas to what is wanted once that is known; what is unknown stops nothing."""
    await catalog.looked.wait()
    await reconciler.run()


async def _purge(store: Store) -> None:
    """Forget for ever what is gone for so long that every router has read of it."""
    while True:
        await asyncio.sleep(_PURGE_SECONDS)
        with contextlib.suppress(PartUnavailable):
            await store.purge(_GONE_FOR)


async def _announce(server: RpcServer, sync: FleetSync) -> None:
    """Serve at once; say SERVING once the fleet is known."""
    await server.start()
    await sync.known.wait()
    server.set_serving(True)
    _log.info("router_ready")
