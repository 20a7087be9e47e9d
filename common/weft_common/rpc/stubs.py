"""Generated stubs over grpc.aio: their typed methods, our client in place of grpclib's channel."""

from functools import cache
from typing import Any, TypeVar, Unpack

import grpc
from betterproto2.grpclib import ServiceStub

from weft_common.rpc.client import CallOptions, Metadata, OnMetadata, Responses, RpcClient, Source

S = TypeVar("S", bound=ServiceStub)
R = TypeVar("R")


def stub(
    kind: type[S],
    channel: grpc.aio.Channel,
    *,
    metadata: Metadata = (),
    timeout: float | None = None,
    stream_timeout: float | None = None,
    on_metadata: OnMetadata | None = None,
) -> S:
    """Make a generated stub call through `channel`; the arguments are RpcClient's, and so are the errors."""
    client = RpcClient(
        channel, metadata=metadata, timeout=timeout, stream_timeout=stream_timeout, on_metadata=on_metadata
    )
    made: S = _over_aio(kind)(client)
    return made


@cache
def _over_aio(kind: type[ServiceStub]) -> Any:
    return type(kind.__name__, (_AioCalls, kind), {})


class _AioCalls:
    """What generated stubs call; the class comes before ServiceStub, whose methods of these names use grpclib."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def _unary_unary(
        self, route: str, request: Any, response_type: type[R], **options: Unpack[CallOptions]
    ) -> R:
        return await self._client.unary(route, request, response_type, **options)

    def _unary_stream(
        self, route: str, request: Any, response_type: type[R], **options: Unpack[CallOptions]
    ) -> Responses[R]:
        return self._client.stream(route, request, response_type, **options)

    async def _stream_unary(
        self, route: str, requests: Source, _: Any, response_type: type[R], **options: Unpack[CallOptions]
    ) -> R:
        return await self._client.upload(route, requests, response_type, **options)

    def _stream_stream(
        self, route: str, requests: Source, _: Any, response_type: type[R], **options: Unpack[CallOptions]
    ) -> Responses[R]:
        return self._client.exchange(route, requests, response_type, **options)
