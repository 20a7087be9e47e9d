"""What people do to nodes and to the replicas on them."""

from weft_common.errors import ModelNotFound, NodeNotFound
from weft_proto.weft.admin.v1 import (
    LoadModelRequest,
    LoadModelResponse,
    NodeAdminServiceBase,
    UnloadModelRequest,
    UnloadModelResponse,
)
from weft_router import convert
from weft_router.fleet.entities import Model, Node, ReplicaState
from weft_router.fleet.fleet import Fleet
from weft_router.loading.loads import Loads
from weft_router.settings import RouterSettings
from weft_router.unloads import Unloads


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
