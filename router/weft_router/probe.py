"""Does a replica answer? One health check tells, whoever asks: a request's router, or the health monitor.

Refused or reset means dead, and nothing else does; where something listens a timeout means busy, and busy is alive.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2

from weft_common.clock import Clock
from weft_common.errors import InternalError
from weft_common.events import Journal
from weft_common.rpc import open_channel
from weft_proto.weft.types.v1 import EventKind
from weft_router.fleet.checkups import Finding
from weft_router.fleet.entities import Replica
from weft_router.fleet.fleet import Fleet
from weft_router.reach import failed, reach
from weft_router.settings import RouterSettings
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync

_PROBE_SECONDS = 2.0
_REACH_SECONDS = 1.0
# A round of checks takes as long as an answer is remembered: one of the round before must not do for this one.
_OF_THIS_ROUND = 0.9
_SPARE = 100
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_CHECK = "/grpc.health.v1.Health/Check"

_log = logging.getLogger(__name__)


class Probe:
    """Checks replicas inside `tasks`; concurrent checks of one replica are one.

    Good answers are remembered for `probe_interval`, others never. State: `_flights`, the checks under way, and
    `_served`, when a replica answered well.
    """

    def __init__(
        self,
        *,
        settings: RouterSettings,
        fleet: Fleet,
        store: Store,
        sync: FleetSync,
        clock: Clock,
        journal: Journal,
        tasks: asyncio.TaskGroup,
        look: Callable[[str], Awaitable[Finding]] | None = None,
    ) -> None:
        self._look = look or look_at
        self._fleet = fleet
        self._store = store
        self._sync = sync
        self._clock = clock
        self._journal = journal
        self._silent_seconds = settings.node_silence.total_seconds()
        self._memory_seconds = settings.probe_interval.total_seconds()
        self._tasks = tasks
        self._flights: dict[str, asyncio.Future[Finding]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._forgetting = asyncio.Lock()
        self._served: dict[str, float] = {}

    async def forget_dead(self, replica_ids: list[str]) -> None:
        """Drop those replicas that no longer listen; raises PartUnavailable where that cannot be written down.

        Only replicas that would serve are looked at: one that its model's selector or revision no longer takes is no
        hope for any request.
        """
        known = self._fleet.replicas
        suspects = [known[i] for i in replica_ids if i in known and self._fleet.would_serve(known[i])]
        flights = {r.id: self._flight(r) for r in suspects if not self._reported_well(r)}
        dead = [i for i, flight in flights.items() if await asyncio.shield(flight) is Finding.DEAD]
        async with self._forgetting:
            dead = [i for i in dead if i in known]
            if dead:
                await self._forget(dead)

    async def _forget(self, dead: list[str]) -> None:
        _log.info("replicas_dead", extra={"replicas": dead})
        rows = [self._fleet.replicas[i] for i in dead]
        await self._store.remove_replicas(dead)
        for row in rows:
            node = self._fleet.nodes.get(row.node_id)
            self._journal.tell(
                EventKind.REPLICA,
                "replica_dead",
                "its port refuses connections, and a gateway had found it gone or silent",
                model=row.model,
                node=node.name if node else row.node_id,
                replica_id=row.id,
            )
        await self._sync.after_write()

    async def ask(self, replica: Replica, *, anew: bool = False) -> Finding:
        """Check one replica, or tell what a good check of lately found unless it is to be asked `anew`."""
        if not anew and self._age(replica.id) <= _OF_THIS_ROUND * self._memory_seconds:
            return Finding.SERVES
        return await asyncio.shield(self._flight(replica))

    def served_lately(self, replica_id: str) -> bool:
        """Whether a good answer is still remembered."""
        return self._age(replica_id) <= self._memory_seconds

    def _age(self, replica_id: str) -> float:
        return self._clock.monotonic() - self._served.get(replica_id, float("-inf"))

    def close(self) -> None:
        """End every check; whoever asks next checks again."""
        for task in self._running:
            task.cancel()

    def _reported_well(self, replica: Replica) -> bool:
        """Whether an answer from before still counts; not where a worker reports, who may know better by now."""
        heard = self._fleet.heard.get(replica.node_id, float("-inf"))
        return self._clock.monotonic() - heard > self._silent_seconds and self.served_lately(replica.id)

    def _flight(self, replica: Replica) -> asyncio.Future[Finding]:
        return self._flights.get(replica.id) or self._start(replica)

    def _start(self, replica: Replica) -> asyncio.Future[Finding]:
        flight: asyncio.Future[Finding] = asyncio.get_running_loop().create_future()
        # Whoever asked may have left; asyncio must not complain that nobody read the outcome.
        flight.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._flights[replica.id] = flight
        task = self._tasks.create_task(self._fly(replica, flight))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return flight

    async def _fly(self, replica: Replica, flight: asyncio.Future[Finding]) -> None:
        """Check one replica and tell whoever waits; nothing escapes to the task group."""
        try:
            finding = await self._look(replica.address)
            self._note(replica, finding)
            flight.set_result(finding)
        except Exception as error:  # noqa: BLE001 (outermost edge of the check's task: its waiters must hear of it)
            _log.exception("probe_broke", extra={"replica": replica.id})
            flight.set_exception(InternalError(f"Looking at a replica of '{replica.model}' broke: {error}"))
        finally:
            del self._flights[replica.id]
            flight.cancel()

    def _note(self, replica: Replica, finding: Finding) -> None:
        if finding is Finding.SERVES:
            self._served[replica.id] = self._clock.monotonic()
        else:
            self._served.pop(replica.id, None)
        if len(self._served) > 2 * len(self._fleet.replicas) + _SPARE:
            self._served = {i: moment for i, moment in self._served.items() if i in self._fleet.replicas}


async def look_at(address: str) -> Finding:
    """Ask a replica whether it serves."""
    try:
        # An attempt to connect may take longer than the check, or a process too busy to greet would look dead.
        async with open_channel(address, connect_seconds=2 * _PROBE_SECONDS) as channel:
            check = channel.unary_unary(
                _CHECK,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            answer = await check(health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() not in _UNANSWERED:
            return Finding.BUSY
        return await reach(address, _REACH_SECONDS)
    except OSError as error:  # not even a channel
        return failed(error)
    return Finding.SERVES if answer.status == health_pb2.HealthCheckResponse.SERVING else Finding.BUSY
