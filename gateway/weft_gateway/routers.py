"""The routers that this gateway asks and watches."""

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from weft_common.errors import PartUnavailable, PartUnreachable
from weft_common.mesh_auth import mesh_metadata
from weft_common.rpc import Responses, RpcClient, open_channel
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb

_SERVICE = "/weft.routing.v1.RoutingService/"
# A router answers within the wait that it was asked for; this is for one that does not answer at all.
_SLACK_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Routers:
    """Calls to routers; each model has one that comes first, so that its load is shared, and the others stand in."""

    def __init__(self, clients: Sequence[tuple[str, RpcClient]]) -> None:
        self._clients = clients

    async def route(self, model: str, *, max_wait: float, suspects: Sequence[str]) -> pb.RouteResponse:
        """Wait for ready replicas; raises the router's refusal, or PartUnavailable where no router answers."""
        request = pb.RouteRequest(model=model, suspect_replica_ids=suspects)
        request.max_wait.FromTimedelta(timedelta(seconds=max_wait))
        for address, client in self._ranked(model):
            try:
                return await client.unary(
                    f"{_SERVICE}Route", request, pb.RouteResponse, timeout=max_wait + _SLACK_SECONDS
                )
            except PartUnreachable as error:
                _log.warning("router_unreachable", extra={"router": address, "error": str(error)})
        raise PartUnavailable(
            f"No router can be reached, so '{model}' cannot be loaded now; running models keep answering.",
            retry_after=timedelta(seconds=2),
            metadata={"part": "router"},
        )

    def watch(self, gateway_id: str, after: int, turn: int) -> Responses[pb.WatchFleetResponse]:
        """Watch the fleet at one of the routers; `turn` counts the attempts and moves on to the next."""
        _, client = self._clients[turn % len(self._clients)]
        request = pb.WatchFleetRequest(gateway_id=gateway_id, after_sequence=after)
        return client.stream(f"{_SERVICE}WatchFleet", request, pb.WatchFleetResponse)

    def _ranked(self, model: str) -> list[tuple[str, RpcClient]]:
        """Rendezvous order: stable for a model, and a router that comes or goes moves few models."""
        return sorted(self._clients, key=lambda c: hashlib.sha256(f"{c[0]}/{model}".encode()).digest())


@asynccontextmanager
async def open_routers(addresses: Sequence[str], mesh_secret: str) -> AsyncIterator[Routers]:
    """Open a channel to every router."""
    async with AsyncExitStack() as stack:
        clients = []
        for address in addresses:
            channel = await stack.enter_async_context(open_channel(address))
            clients.append((address, RpcClient(channel, metadata=mesh_metadata(mesh_secret))))
        yield Routers(clients)
