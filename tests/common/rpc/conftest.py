"""A service with all four kinds of rpcs, written as the generator would, since the contract has but two of them."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import grpclib.const
import pytest
from betterproto2.grpclib import ServiceBase, ServiceStub

from weft_common.rpc import RpcServer, open_channel
from weft_proto.weft.routing.v1 import RouteRequest, RouteResponse

PATH = "/weft.test.v1.EchoService/"
Serve: TypeAlias = "Callable[..., AbstractAsyncContextManager[Served]]"


class Echo(ServiceBase):
    """Fails with `failure` where a model is called "fail"; state: what became of its generators and callers."""

    def __init__(self) -> None:
        self.failure: BaseException = RuntimeError("no failure was given")
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.release = asyncio.Event()

    async def once(self, message: RouteRequest) -> RouteResponse:
        self._refuse(message)
        return RouteResponse(sequence=len(message.model))

    async def count(self, message: RouteRequest) -> AsyncIterator[RouteResponse]:
        """Answer once per letter; "fail" fails at once, a trailing "!" fails after the letters, "?" waits there."""
        self._refuse(message)
        try:
            for number in range(len(message.model.rstrip("!?"))):
                yield RouteResponse(sequence=number)
            if message.model.endswith("!"):
                raise self.failure
            if message.model.endswith("?"):
                self.entered.set()
                await self.release.wait()
        finally:
            self.left.set()

    async def gather(self, messages: AsyncIterator[RouteRequest]) -> RouteResponse:
        return RouteResponse(sequence=sum([len(m.model) async for m in messages]))

    async def chat(self, messages: AsyncIterator[RouteRequest]) -> AsyncIterator[RouteResponse]:
        async for message in messages:
            self._refuse(message)
            yield RouteResponse(sequence=len(message.model))

    async def hold(self, message: RouteRequest) -> RouteResponse:
        """Answer when released."""
        self.entered.set()
        try:
            await self.release.wait()
        finally:
            self.left.set()
        return RouteResponse(sequence=1)

    async def unwritten(self, message: RouteRequest) -> RouteResponse:
        raise grpclib.GRPCError(grpclib.const.Status.UNIMPLEMENTED)

    def _refuse(self, message: RouteRequest) -> None:
        if message.model == "fail":
            raise self.failure

    async def __rpc_once(self, stream: Any) -> None: ...
    async def __rpc_count(self, stream: Any) -> None: ...
    async def __rpc_gather(self, stream: Any) -> None: ...
    async def __rpc_chat(self, stream: Any) -> None: ...
    async def __rpc_hold(self, stream: Any) -> None: ...
    async def __rpc_unwritten(self, stream: Any) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        kinds = grpclib.const.Cardinality
        rows = {
            "Once": (self.__rpc_once, kinds.UNARY_UNARY),
            "Count": (self.__rpc_count, kinds.UNARY_STREAM),
            "Gather": (self.__rpc_gather, kinds.STREAM_UNARY),
            "Chat": (self.__rpc_chat, kinds.STREAM_STREAM),
            "Hold": (self.__rpc_hold, kinds.UNARY_UNARY),
            "Unwritten": (self.__rpc_unwritten, kinds.UNARY_UNARY),
        }
        return {
            PATH + name: grpclib.const.Handler(func, kind, RouteRequest, RouteResponse)
            for name, (func, kind) in rows.items()
        }


class EchoStub(ServiceStub):
    """The stub as the generator writes it."""

    async def once(self, message: RouteRequest, **options: Any) -> RouteResponse:
        return await self._unary_unary(f"{PATH}Once", message, RouteResponse, **options)

    async def count(self, message: RouteRequest, **options: Any) -> AsyncIterator[RouteResponse]:
        async for response in self._unary_stream(f"{PATH}Count", message, RouteResponse, **options):
            yield response

    async def gather(self, messages: AsyncIterable[RouteRequest], **options: Any) -> RouteResponse:
        return await self._stream_unary(f"{PATH}Gather", messages, RouteRequest, RouteResponse, **options)

    async def chat(
        self, messages: AsyncIterable[RouteRequest], **options: Any
    ) -> AsyncIterator[RouteResponse]:
        async for response in self._stream_stream(
            f"{PATH}Chat", messages, RouteRequest, RouteResponse, **options
        ):
            yield response

    async def hold(self, message: RouteRequest, **options: Any) -> RouteResponse:
        return await self._unary_unary(f"{PATH}Hold", message, RouteResponse, **options)

    async def unwritten(self, message: RouteRequest, **options: Any) -> RouteResponse:
        return await self._unary_unary(f"{PATH}Unwritten", message, RouteResponse, **options)


class Served:
    """A running server and a channel to it."""

    def __init__(self, server: RpcServer, channel: Any, port: int, echo: Echo) -> None:
        self.server = server
        self.channel = channel
        self.port = port
        self.echo = echo


@pytest.fixture
def path() -> str:
    return PATH


@pytest.fixture
def echo_stub() -> type[EchoStub]:
    return EchoStub


@pytest.fixture
def serve() -> Serve:
    """Serve Echo, and whatever RpcServer is given besides, for the length of a block."""

    @asynccontextmanager
    async def served(**options: Any) -> AsyncIterator[Served]:
        echo = Echo()
        async with RpcServer([echo], **options) as server:
            port = server.listen("127.0.0.1:0")
            await server.start()
            async with open_channel(f"127.0.0.1:{port}") as channel:
                yield Served(server, channel, port, echo)

    return served
