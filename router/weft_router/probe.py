"""Is a replica that somebody could not reach really dead? One health check tells.

Refused or reset means dead; a timeout means busy, and busy is alive.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum, auto

import grpc
from grpc_health.v1 import health_pb2

from weft_common.clock import Clock
from weft_common.errors import InternalError, WeftError
from weft_common.events import Journal
from weft_common.rpc import open_channel
from weft_proto.weft.types.v1 import EventKind
from weft_router.fleet.entities import Replica
from weft_router.fleet.fleet import Fleet
from weft_router.settings import RouterSettings
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync

_PROBE_SECONDS = 2.0
_REMEMBER_SECONDS = 30.0
_CHECK = "/grpc.health.v1.Health/Check"

_log = logging.getLogger(__name__)


class Finding(Enum):
    """What one check tells."""

    SERVES = auto()
    BUSY = auto()
    DEAD = auto()


class Probe:
    """Checks suspects inside `tasks` and forgets the dead; concurrent checks of one replica are one.

    State: `_flights`, the checks under way, and `_served`, when a replica answered well.
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
        self._tasks = tasks
        self._flights: dict[str, asyncio.Future[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._served: dict[str, float] = {}

    async def forget_dead(self, replica_ids: list[str]) -> None:
        """Drop those replicas that no longer listen; raises PartUnavailable where that cannot be written down."""
        suspects = [self._fleet.replicas[i] for i in replica_ids if i in self._fleet.replicas]
        flights = [self._flights.get(r.id) or self._start(r) for r in suspects if not self._served_lately(r)]
        for flight in flights:
            await asyncio.shield(flight)

    def close(self) -> None:
        """End every check; whoever asks next checks again."""
        for task in self._running:
            task.cancel()

    def _served_lately(self, replica: Replica) -> bool:
        """Whether an answer from before still counts; not where a worker reports, who may know better by now."""
        now = self._clock.monotonic()
        heard = self._fleet.heard.get(replica.node_id, float("-inf"))
        served = self._served.get(replica.id, float("-inf"))
        return now - heard > self._silent_seconds and now - served <= _REMEMBER_SECONDS

    def _start(self, replica: Replica) -> asyncio.Future[None]:
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whoever asked may have left; asyncio must not complain that nobody read the outcome.
        flight.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._flights[replica.id] = flight
        task = self._tasks.create_task(self._fly(replica, flight))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return flight

    async def _fly(self, replica: Replica, flight: asyncio.Future[None]) -> None:
        """Check one replica and tell whoever waits; nothing escapes to the task group."""
        try:
            await self._judge(replica, await self._look(replica.address))
            flight.set_result(None)
        except WeftError as error:
            flight.set_exception(error)
        except Exception as error:  # noqa: BLE001 (outermost edge of the check's task: its waiters must hear of it)
            _log.exception("probe_broke", extra={"replica": replica.id})
            flight.set_exception(InternalError(f"Looking at a replica of '{replica.model}' broke: {error}"))
        finally:
            del self._flights[replica.id]
            flight.cancel()

    async def _judge(self, replica: Replica, finding: Finding) -> None:
        if finding is Finding.SERVES:
            known = {i: served for i, served in self._served.items() if i in self._fleet.replicas}
            self._served = known | {replica.id: self._clock.monotonic()}
        if finding is Finding.DEAD:
            _log.info("replica_dead", extra={"replica": replica.id, "model": replica.model})
            await self._store.remove_replicas([replica.id])
            node = self._fleet.nodes.get(replica.node_id)
            self._journal.tell(
                EventKind.REPLICA,
                "replica_dead",
                "a gateway could not reach it, and nothing listens where it should",
                model=replica.model,
                node=node.name if node else "",
                replica_id=replica.id,
            )
            await self._sync.after_write()


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
        return Finding.DEAD if error.code() is grpc.StatusCode.UNAVAILABLE else Finding.BUSY
    return Finding.SERVES if answer.status == health_pb2.HealthCheckResponse.SERVING else Finding.BUSY
