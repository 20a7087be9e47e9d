"""What workers call."""

from weft_common.rpc import current_call
from weft_proto.weft.node.v1 import (
    HeartbeatRequest,
    HeartbeatResponse,
    NodeServiceBase,
    RegisterNodeRequest,
    RegisterNodeResponse,
)
from weft_proto.weft.types.v1 import NodeState as NodeStateMessage
from weft_router import convert
from weft_router.fleet.entities import NodeState
from weft_router.loading.loads import Loads
from weft_router.registry import Registry
from weft_router.settings import RouterSettings

_HTTP_STATUS = "x-weft-http-status"


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


def _bearer() -> str | None:
    scheme, _, token = current_call().metadata.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None
