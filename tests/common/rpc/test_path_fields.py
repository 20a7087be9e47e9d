"""A body cannot turn a REST call to something that its path does not name."""

import pytest

from weft_common.errors import InvalidRequest, NodeNotFound
from weft_common.rpc import RpcServer, open_channel, stub
from weft_proto.weft.admin.v1 import (
    DrainNodeRequest,
    DrainNodeResponse,
    NodeAdminServiceBase,
    NodeAdminServiceStub,
    UnloadModelRequest,
    UnloadModelResponse,
)


class _Admin(NodeAdminServiceBase):
    async def drain_node(self, message: DrainNodeRequest) -> DrainNodeResponse:
        raise NodeNotFound(message.id)

    async def unload_model(self, message: UnloadModelRequest) -> UnloadModelResponse:
        raise NodeNotFound(message.node or "everywhere")


async def asked(method: str, message: object, path: str | None) -> str:
    """What a node service is asked for when Envoy says that the path was this one."""
    async with RpcServer([_Admin()]) as server:
        port = server.listen("127.0.0.1:0")
        await server.start()
        async with open_channel(f"127.0.0.1:{port}") as channel:
            metadata = [("x-envoy-original-path", path)] if path else []
            calls = stub(NodeAdminServiceStub, channel, metadata=metadata, timeout=5)
            with pytest.raises(NodeNotFound) as caught:
                await getattr(calls, method)(message)
            return str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        None,
        "/api/nodes/a%2Fb/drain",
        "/api/nodes/a%2Fb/drain/?id=c",
    ],
)
async def test_what_the_path_says_or_leaves_open_passes(path: str | None) -> None:
    assert "a/b" in await asked("drain_node", DrainNodeRequest(id="a/b"), path)


@pytest.mark.parametrize(
    "path", ["/api/nodes/other/drain", "/api/nodes/a/b/drain", "/api/nodes/a/resume", "/"]
)
async def test_a_body_that_names_another_node_than_the_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        await asked("drain_node", DrainNodeRequest(id="a"), path)


async def test_the_refusal_names_the_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await asked(
            "unload_model", UnloadModelRequest(model_name="m", node="a"), "/api/nodes/b/models/unload"
        )
    assert [v.field for v in caught.value.violations] == ["node"]


async def test_a_path_without_the_field_leaves_it_to_the_body() -> None:
    message = UnloadModelRequest(model_name="m", node="a")
    assert "a" in await asked("unload_model", message, "/api/nodes/models/unload")
