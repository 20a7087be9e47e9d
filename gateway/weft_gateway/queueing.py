"""What a request does that finds no free slot: it waits at the model's router, or here where no router answers."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from weft_common.choice import Choice
from weft_common.clock import Clock
from weft_common.errors import PartUnavailable, WaitTooLong
from weft_common.load_view import LoadView
from weft_common.waiting_view import WaitingView
from weft_gateway.fleet_view import FleetView, Target
from weft_gateway.local_queue import LocalQueue
from weft_gateway.metrics import AdmissionMetrics
from weft_gateway.routers import Routers
from weft_gateway.slot import Ask, Slot
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.pb.weft.types.v1 import node_pb2, replica_pb2

# Between two questions to routers that answer and have nothing, as one that has not read the fleet yet.
_PAUSE_SECONDS = 1.0
# Whoever lives has said something by then: replicas do every second.
_BEATS_SECONDS = 3.0


class Queueing:
    """State: `_under_way`, how many requests of this gateway wait for each model."""

    def __init__(
        self,
        *,
        view: FleetView,
        waiting: WaitingView,
        routers: Routers,
        local: LocalQueue,
        clock: Clock,
        wait: timedelta,
        metrics: AdmissionMetrics,
    ) -> None:
        self._view = view
        self._waiting = waiting
        self._routers = routers
        self._local = local
        self._clock = clock
        self._wait_seconds = wait.total_seconds()
        self._metrics = metrics
        self._under_way: Counter[str] = Counter()

    def is_needed(self, model: str, targets: Sequence[Target]) -> bool:
        """Whether a request has to wait for its turn: all is full, or others wait who would be passed."""
        return (
            bool(self._under_way[model])
            or self._waiting.is_waited_for(model)
            or all(target.is_full for target in targets)
        )

    async def slot(self, ask: Ask) -> Slot:
        """Wait for a slot; raises what a router refuses with, and WaitTooLong, QueueFull and PartUnavailable."""
        self._under_way[ask.model] += 1
        self._metrics.waiting.inc()
        began = self._clock.monotonic()
        try:
            with self._metrics.waits.time():
                return await self._slot(ask)
        except WaitTooLong as error:
            raise self._true_cause(ask.model, began) or error from error.__cause__
        finally:
            self._metrics.waiting.dec()
            self._under_way[ask.model] -= 1
            if not self._under_way[ask.model]:
                del self._under_way[ask.model]

    async def _slot(self, ask: Ask) -> Slot:
        began = self._clock.monotonic()
        over = began + min(self._wait_seconds, ask.patience)
        number = self._local.number()
        request = _request(ask, self._view.gateway_id)
        while True:
            answer = await self._routers.acquire(request, max_wait=max(0.0, over - self._clock.monotonic()))
            if answer is not None:
                self._metrics.by_router.inc()
                return self._answered(answer)
            found = await self._found_here(ask.model, number, over)
            if found is not None:
                self._metrics.by_itself.inc()
                return Slot(found.choice, found.pick, waited=self._clock.monotonic() - began)
            if self._clock.monotonic() >= over:
                why = self._routers.missing(ask.model)
                raise WaitTooLong(
                    f"'{ask.model}' is busy, and no router hands out its slots: {why.message}",
                    retry_after=self._local.forecast(ask.model),
                    metadata={"part": "router"},
                )

    def _true_cause(self, model: str, began: float) -> PartUnavailable | None:
        """Why nobody got a slot, if it is not for want of them: what hangs is not busy."""
        now = self._clock.monotonic()
        targets = self._view.targets(model)
        if now - began < _BEATS_SECONDS or not targets:
            return None
        if not all(t.load.is_silent_since(began, now) for t in targets):
            return None
        return PartUnavailable(
            f"No replica of '{model}' has answered for {now - began:.0f} s; try again later.",
            retry_after=timedelta(seconds=5),
            metadata={"part": "replica"},
        )

    async def _found_here(self, model: str, number: int, over: float) -> Slot | None:
        """Queue in this gateway until a router may answer again; None where there was no slot by then."""
        if not (self._view.targets(model) or self._view.silent_targets(model)):
            raise self._routers.missing(model)
        pause = self._routers.seconds_until_heard() or _PAUSE_SECONDS
        return await self._local.wait(model, number, min(pause, over - self._clock.monotonic()))

    def _answered(self, answer: pb.AcquireSlotResponse) -> Slot:
        nodes = {node.id: node for node in answer.nodes}

        def target(replica: replica_pb2.Replica) -> Target:
            node = nodes.get(replica.node_id) or node_pb2.Node(id=replica.node_id)
            return Target(replica, node, LoadView(), self._clock)

        fallback = target(answer.fallback) if answer.HasField("fallback") else None
        return Slot(
            choice=Choice(target(answer.replica), fallback),
            pick=answer.pick,
            position=answer.position,
            waited=answer.waited.ToTimedelta().total_seconds(),
        )


def _request(ask: Ask, gateway_id: str) -> pb.AcquireSlotRequest:
    return pb.AcquireSlotRequest(
        model=ask.model,
        principal=ask.principal.name,
        weight=ask.principal.weight,
        priority=ask.principal.priority,
        gateway_id=gateway_id,
        max_token_count=ask.max_token_count,
    )
