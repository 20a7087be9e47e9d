"""A gateway's admission with routers that are played, and a clock that is moved by hand."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from tests.gateway.builders import a_full_update, a_node, a_replica
from weft_common.clock import ManualClock
from weft_common.errors import PartUnavailable, WeftError
from weft_common.ticket import replica_name
from weft_common.waiting_view import WaitingView
from weft_gateway.admission import Admission, Admitted
from weft_gateway.fleet_view import FleetView, Target
from weft_gateway.keys import Principal
from weft_gateway.local_queue import LocalQueue
from weft_gateway.metrics import AdmissionMetrics
from weft_gateway.queueing import Queueing
from weft_gateway.settings import GatewaySettings
from weft_gateway.slot import Ask
from weft_proto.pb.weft.bus.v1 import reports_pb2
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.pb.weft.types.v1 import replica_pb2

SECRET = "ab" * 32
FIRST = replica_name("m", 0, "rev1", "r-1")
SECOND = replica_name("m", 0, "rev1", "r-2")


@dataclass
class FakeRouters:
    """Answers with `answers` one by one, then with `replicas`, or refuses with `error`; keeps what it was asked."""

    answers: list[pb.RouteResponse] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    replicas: Sequence[replica_pb2.Replica] = ()
    error: WeftError | None = None
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    slots: list[pb.AcquireSlotResponse] = field(default_factory=list)
    lacking: PartUnavailable = field(default_factory=lambda: PartUnavailable("No router can be reached"))
    acquired: list[tuple[str, str, float, int]] = field(default_factory=list)

    async def route(self, model: str, *, max_wait: float, suspects: Sequence[str]) -> pb.RouteResponse:
        self.asked.append((model, list(suspects)))
        self.meanwhile()
        if self.error:
            raise self.error
        return self.answers.pop(0) if self.answers else pb.RouteResponse(replicas=self.replicas, sequence=9)

    async def acquire(
        self, request: pb.AcquireSlotRequest, *, max_wait: float
    ) -> pb.AcquireSlotResponse | None:
        self.acquired.append((request.model, request.principal, request.weight, request.priority))
        self.meanwhile()
        if self.hold:
            await self.hold.wait()
        if self.error:
            raise self.error
        return self.slots.pop(0) if self.slots else None

    def seconds_until_heard(self) -> float:
        return 0.001

    def missing(self, model: str) -> PartUnavailable:
        return self.lacking


ALICE = Principal("alice", 2.0, 1)


class World:
    def __init__(self, routers: FakeRouters | None = None, **fields: Any) -> None:
        self.clock = ManualClock(now=1_000)
        self.view = FleetView(self.clock, "g-1")
        self.view.watched = True
        self.routers = routers or FakeRouters()
        self.waiting = WaitingView(self.clock)
        self.local = LocalQueue(self.view, self.clock, limit=2)
        self.registry = CollectorRegistry()
        metrics = AdmissionMetrics(self.registry)
        settings = GatewaySettings(
            listen="127.0.0.1:0",
            routers=("127.0.0.1:1",),
            nats_url="nats://x",
            mesh_secret=SECRET,
            keys_file=Path("/nowhere"),
            state_dir=Path("/nowhere"),
            **fields,
        )
        queueing = Queueing(
            view=self.view,
            waiting=self.waiting,
            routers=self.routers,  # type: ignore[arg-type]  # a fake
            local=self.local,
            clock=self.clock,
            wait=settings.queue_wait,
            metrics=metrics,
        )
        self.admission = Admission(
            view=self.view,
            routers=self.routers,  # type: ignore[arg-type]  # a fake
            queueing=queueing,
            settings=settings,
            clock=self.clock,
            metrics=metrics,
        )

    async def admitted(self, model: str = "m", prompt: bytes = b"", **fields: Any) -> Admitted:
        return await self.admission.admit(Ask(model, ALICE, "req-1", prompt, **fields))

    async def headers(self, model: str = "m", prompt: bytes = b"") -> dict[str, str]:
        return dict((await self.admitted(model, prompt)).headers)

    def fill(self) -> None:
        """Let every replica report that its slots are taken."""
        self.report(lambda target: target.slot_count)

    def told(self, *models: str) -> None:
        """A router tells that somebody waits for models there."""
        report = reports_pb2.WaitingReport(router_id="r-1")
        for model in models:
            report.queues.add(model=model, waiting_count=1)
        self.waiting.take(report)

    def admitted_by(self, who: str) -> float | None:
        return self.registry.get_sample_value("weft_admitted_total", {"by": who})

    def know_pair(self, slots: int = 4, **fields: Any) -> None:
        """Two replicas, at ports 7 and 8."""
        first = a_replica(slot_count=slots)
        second = a_replica("r-2", node_id="n-2", address="127.0.0.1:8", slot_count=slots)
        nodes = [a_node(), a_node("n-2")]
        self.view.apply(a_full_update(nodes=nodes, replicas=[first, second], heard=("n-1", "n-2"), **fields))

    async def served(self, prompt: bytes, *, done: bool = True) -> str:
        """The last digit of the port where a request goes; it is over at once, unless `done` is false."""
        headers = await self.headers(prompt=prompt)
        if done:
            self.finish()
        return headers["x-weft-destination"][-1]

    def finish(self) -> None:
        """Let workers report that they have seen everything and have nothing to do."""
        self.clock.advance(0.01)
        self.report(lambda target: 0)

    def report(self, busy: Callable[[Target], int]) -> None:
        report = reports_pb2.LoadReport(node_id="n-1")
        for target in self.view.targets("m"):
            entry = report.replicas.add(replica_id=target.replica_id, in_flight_count=busy(target))
            entry.picks.add(gateway_id="g-1", contiguous=10_000)
        self.view.load(report)
