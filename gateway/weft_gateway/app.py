"""Builds a gateway from its settings and runs it until it is told to stop."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from envoy.service.auth.v3 import external_auth_pb2
from prometheus_client import CollectorRegistry

from weft_common.background import background
from weft_common.bus import open_bus
from weft_common.clock import Clock, SystemClock
from weft_common.event_stream import measure_events, open_journal
from weft_common.events import Journal
from weft_common.metrics import new_registry, serving_metrics
from weft_common.part import GATEWAY_LEVEL
from weft_common.rpc import Method, RpcServer, upb_unary
from weft_common.waiting_view import WaitingView
from weft_gateway import check
from weft_gateway.admission import Admission
from weft_gateway.fleet_view import FleetView
from weft_gateway.keys import KeyRing
from weft_gateway.local_queue import LocalQueue
from weft_gateway.metrics import AdmissionMetrics
from weft_gateway.models_api import OpenAIModels
from weft_gateway.ollama_lists import OllamaLists
from weft_gateway.queueing import Queueing
from weft_gateway.routers import Routers, open_routers
from weft_gateway.settings import GatewaySettings
from weft_gateway.snapshot import Snapshot
from weft_gateway.telling import TellingAdmission
from weft_gateway.uses import Uses
from weft_gateway.watch import follow_fleet, follow_loads
from weft_proto.pb.weft.dialect.v1 import openai_service_pb2

_KNOWLEDGE_SECONDS = 3.0
_GRACE_SECONDS = 1.0
_MODELS = "/weft.dialect.v1.OpenAIService/"
# What Envoy's port serves, so what reflection lists, whichever part answers.
PUBLIC_SERVICES = (
    "weft.inference.v1.InferenceService",
    "weft.dialect.v1.OpenAIService",
    "weft.dialect.v1.AnthropicService",
    "weft.dialect.v1.OllamaService",
    "weft.dialect.v1.JinaService",
    "weft.dialect.v1.CohereService",
    "weft.dialect.v1.LocalAIService",
    "weft.node.v1.NodeService",
    "weft.admin.v1.NodeAdminService",
    "weft.admin.v1.EventService",
    "weft.scheduling.v1.SchedulingService",
    "weft.routing.v1.RoutingService",
    "weft.backend.v1.BackendService",
)

_log = logging.getLogger(__name__)


async def run(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; a crashed loop ends the process with its own exception."""
    clock = SystemClock()
    view = FleetView(clock, f"g-{uuid.uuid4().hex[:12]}", settings.node_silence.total_seconds())
    snapshot = Snapshot(settings.state_dir, view, clock, settings.snapshot_lifetime)
    keys = KeyRing(settings.keys_file)
    async with (
        open_bus(settings.nats_url.get_secret_value(), name="gateway") as bus,
        open_journal(bus, clock, settings.part()) as journal,
        open_routers(settings.routers, settings.mesh_secret.get_secret_value(), clock) as routers,
    ):
        door = _door(settings, view, routers, keys, journal, clock)
        uses = Uses(clock)
        lists = [*_openai_lists(OpenAIModels(view)), *OllamaLists(view, uses, clock).methods()]
        synced = asyncio.Event()
        if snapshot.restore():
            synced.set()
        async with (
            serving_metrics(settings.metrics_listen, door.registry),
            _server(settings, door.check, lists) as server,
            background(
                follow_fleet(routers, view, synced, partial(_tell_level, server)),
                follow_loads(bus, view, door.local.stir_all, uses.hear),
                door.waiting.follow(bus),
                keys.follow(),
                snapshot.keep(),
                _announce(server, settings.listen, synced),
            ),
        ):
            await stop.wait()
            await server.stop(_GRACE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Door:
    """What decides about requests, and what it has to be told."""

    check: check.Check
    local: LocalQueue
    waiting: WaitingView
    registry: CollectorRegistry


def _door(
    settings: GatewaySettings,
    view: FleetView,
    routers: Routers,
    keys: KeyRing,
    journal: Journal,
    clock: Clock,
) -> _Door:
    registry = new_registry()
    measure_events(journal, registry)
    metrics = AdmissionMetrics(registry)
    waiting, local = WaitingView(clock), LocalQueue(view, clock, settings.queue_limit)
    queueing = Queueing(
        view=view,
        waiting=waiting,
        routers=routers,
        local=local,
        clock=clock,
        wait=settings.queue_wait,
        metrics=metrics,
    )
    admission = Admission(
        view=view, routers=routers, queueing=queueing, settings=settings, clock=clock, metrics=metrics
    )
    secret = settings.mesh_secret.get_secret_value()
    authorization = check.Check(
        keys=keys,
        admission=TellingAdmission(admission, view, journal),
        mesh_secret=secret,
        metrics=metrics,
        clock=clock,
    )
    return _Door(authorization, local, waiting, registry)


def _openai_lists(models: OpenAIModels) -> list[Method]:
    return [
        upb_unary(f"{_MODELS}ListModels", models.list_models, openai_service_pb2.ListModelsRequest),
        upb_unary(f"{_MODELS}GetModel", models.get_model, openai_service_pb2.GetModelRequest),
    ]


def _server(settings: GatewaySettings, authorization: check.Check, lists: Sequence[Method]) -> RpcServer:
    return RpcServer(
        upb=[
            upb_unary(check.PATH, authorization.check, external_auth_pb2.CheckRequest),
            *lists,
        ],
        reflected=PUBLIC_SERVICES,
        mesh_secret=settings.mesh_secret.get_secret_value(),
        mesh_only=[check.PATH],
        health_names=[GATEWAY_LEVEL],
    )


def _tell_level(server: RpcServer, level: bool) -> None:
    server.tell_health(GATEWAY_LEVEL, serving=level)


async def _announce(server: RpcServer, listen: str, synced: asyncio.Event) -> None:
    """Listen once the fleet is known, and say SERVING.

    Before, a restarted gateway would refuse what Envoy still sends it; where nobody listens, Envoy asks another one.
    With no router for a while it listens all the same, to say what is missing.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KNOWLEDGE_SECONDS):
            await synced.wait()
    server.listen(listen)
    await server.start()
    await synced.wait()
    server.set_serving(True)
    _log.info("gateway_ready")
