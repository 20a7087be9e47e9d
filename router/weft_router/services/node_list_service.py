"""Lists of the whole fleet, on upb classes since they grow with it."""

from weft_proto.pb.weft.admin.v1 import node_admin_service_pb2 as pb
from weft_router.fleet.entities import Replica
from weft_router.fleet.fleet import Fleet
from weft_router.nodes.portraits import Portraits
from weft_router.paging import page
from weft_router.sync import FleetSync


class NodeListService:
    """ListNodes and ListReplicas of weft.admin.v1.NodeAdminService."""

    def __init__(self, *, fleet: Fleet, sync: FleetSync, portraits: Portraits) -> None:
        self._fleet = fleet
        self._sync = sync
        self._portraits = portraits

    async def list_nodes(self, request: pb.ListNodesRequest) -> pb.ListNodesResponse:
        self._sync.require_known()
        nodes, token = page(
            self._fleet.nodes.values(),
            size=request.page_size,
            token=request.page_token,
            key=lambda n: n.name,
        )
        return pb.ListNodesResponse(nodes=[self._portraits.node_pb(n) for n in nodes], next_page_token=token)

    async def list_replicas(self, request: pb.ListReplicasRequest) -> pb.ListReplicasResponse:
        self._sync.require_known()
        replicas, token = page(
            self._fleet.replicas.values(), size=request.page_size, token=request.page_token, key=self._place
        )
        return pb.ListReplicasResponse(
            replicas=[self._portraits.replica_pb(r) for r in replicas], next_page_token=token
        )

    def _place(self, replica: Replica) -> str:
        """By model, node and index; names hold no control characters that sort below the mark between them."""
        node = self._fleet.nodes.get(replica.node_id)
        return "\0".join((replica.model, node.name if node else "", f"{replica.index:06}", replica.id))
