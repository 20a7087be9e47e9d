"""Calls other parts: channels with Weft's options, and generated stubs over them that raise WeftError."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any, Generic, Self, TypeVar

import grpc
from betterproto2.grpclib import ServiceStub

from weft_common.errors import InternalError, PartUnavailable, WeftError
from weft_common.rpc.status import from_rpc_error
from weft_common.rpc.wire import LIMITS, cancelled_from_outside, to_bytes

S = TypeVar("S", bound=ServiceStub)
R = TypeVar("R")
Metadata = Mapping[str, str] | Iterable[tuple[str, str]]
OnMetadata = Callable[[Mapping[str, str]], None]
Source = AsyncIterable[Any] | Iterable[Any]

_OPTIONS: tuple[tuple[str, int], ...] = (
    *LIMITS,
    # A part that restarts on its port is used again within a second; grpc's default lets two minutes pass.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # This one is the least time that an attempt to connect gets, and a busy machine needs more than 100 ms.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    # Notices a peer that is stopped or unplugged, also during a long silent stream.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Parts reach each other directly; a proxy in the user's environment is for the internet.
    ("grpc.enable_http_proxy", 0),
)


@asynccontextmanager
async def open_channel(target: str) -> AsyncIterator[Any]:
    """Open a channel to `host:port` or `unix:path`; leaving the block ends its calls with PartUnavailable."""
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        yield channel


def stub(
    kind: type[S],
    channel: Any,
    *,
    metadata: Metadata = (),
    timeout: float | None = None,
    stream_timeout: float | None = None,
    on_metadata: OnMetadata | None = None,
) -> S:
    """Make a generated stub call through grpc.aio; what it raises is a WeftError.

    `timeout` bounds calls that are answered once, `stream_timeout` those that stream their answers; each call
    may give its own. A call's own metadata is added to `metadata`.
    """
    client = RpcClient(
        channel, metadata=metadata, timeout=timeout, stream_timeout=stream_timeout, on_metadata=on_metadata
    )
    made: S = _aio_class(kind)(client)
    return made


class RpcClient:
    """Calls rpcs by path, with betterproto2 or upb messages; bytes come back where `response_class` is bytes."""

    def __init__(
        self,
        channel: Any,
        *,
        metadata: Metadata = (),
        timeout: float | None = None,
        stream_timeout: float | None = None,
        on_metadata: OnMetadata | None = None,
    ) -> None:
        """`on_metadata` hears the initial metadata at the first answer, the trailing metadata at a success."""
        self._channel = channel
        self._metadata = _pairs(metadata)
        self._timeout = timeout
        self._stream_timeout = stream_timeout
        self._on_metadata = on_metadata

    async def unary(
        self,
        path: str,
        request: Any,
        response_class: type[R],
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> R:
        """Call an rpc that answers once; `request` is a message, or an iterable of them for a client stream."""
        source = _Source(request)
        with _weft_errors(path, source):
            start = self._channel.stream_unary if source.many else self._channel.unary_unary
            call = start(path)(source.request(), **self._options(timeout or self._timeout, metadata))
            raw = await call
            await self._tell(call.initial_metadata)
            await self._tell(call.trailing_metadata)
        return _parse(response_class, raw, path)

    def stream(
        self,
        path: str,
        request: Any,
        response_class: type[R],
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> "Responses[R]":
        """Call an rpc that streams its answers; closing or dropping the `Responses` cancels the call."""
        source = _Source(request)
        with _weft_errors(path, source):
            start = self._channel.stream_stream if source.many else self._channel.unary_stream
            call = start(path)(source.request(), **self._options(timeout or self._stream_timeout, metadata))
        return Responses(call, source, path, response_class, self._tell)

    def _options(self, timeout: float | None, metadata: Metadata | None) -> dict[str, Any]:
        return {"timeout": timeout, "metadata": (*self._metadata, *_pairs(metadata or ()))}

    async def _tell(self, metadata: Callable[[], Awaitable[Any]]) -> None:
        if self._on_metadata is not None and (pairs := await metadata()):
            self._on_metadata({key: value for key, value in pairs if isinstance(value, str)})


class Responses(Generic[R]):
    """The answers of a stream; no generator, so that dropping it cancels the call at once; state: `_begun`."""

    def __init__(
        self,
        call: Any,
        source: "_Source",
        path: str,
        response_class: type[R],
        tell: Callable[[Callable[[], Awaitable[Any]]], Awaitable[None]],
    ) -> None:
        self._call = call
        self._source = source
        self._path = path
        self._response_class = response_class
        self._tell = tell
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        with _weft_errors(self._path, self._source):
            raw = await self._call.read()
            if not self._begun:
                self._begun = True
                await self._tell(self._call.initial_metadata)
            if raw is grpc.aio.EOF:
                await self._tell(self._call.trailing_metadata)
                raise StopAsyncIteration
        return _parse(self._response_class, raw, self._path)

    def __del__(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        """End the call; its handler is cancelled. Without effect once the stream has ended."""
        self._call.cancel()

    async def aclose(self) -> None:
        """Do the same, for `contextlib.aclosing`."""
        self.cancel()


class _Source:
    """The requests of a call, one or many; state: `error`, what the caller's own iterator raised."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self.many = isinstance(request, AsyncIterable | Iterable) and not isinstance(request, bytes)
        self.error: Exception | None = None

    def request(self) -> Any:
        return self._each() if self.many else to_bytes(self._request)

    async def _each(self) -> AsyncIterator[bytes]:
        try:
            if isinstance(self._request, AsyncIterable):
                async for message in self._request:
                    yield to_bytes(message)
            else:
                for message in self._request:
                    yield to_bytes(message)
        except Exception as error:
            self.error = error  # grpc.aio would only log it and cancel the call
            raise


class _AioStub:
    """Stands in a generated stub where it would talk to grpclib; `deadline` is grpclib's and has no user."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def _unary_unary(
        self, route: str, request: Any, response_type: type[R], *, deadline: None = None, **options: Any
    ) -> R:
        return await self._client.unary(route, request, response_type, **options)

    def _unary_stream(
        self, route: str, request: Any, response_type: type[R], *, deadline: None = None, **options: Any
    ) -> Responses[R]:
        return self._client.stream(route, request, response_type, **options)

    async def _stream_unary(
        self,
        route: str,
        requests: Source,
        _: Any,
        response_type: type[R],
        *,
        deadline: None = None,
        **options: Any,
    ) -> R:
        return await self._client.unary(route, requests, response_type, **options)

    def _stream_stream(
        self,
        route: str,
        requests: Source,
        _: Any,
        response_type: type[R],
        *,
        deadline: None = None,
        **options: Any,
    ) -> Responses[R]:
        return self._client.stream(route, requests, response_type, **options)


@cache
def _aio_class(kind: type[S]) -> Any:
    return type(kind.__name__, (_AioStub, kind), {})


def _pairs(metadata: Metadata) -> tuple[tuple[str, str], ...]:
    return tuple(metadata.items() if isinstance(metadata, Mapping) else metadata)


def _parse(response_class: type[R], raw: bytes, path: str) -> R:
    if response_class is bytes:
        return raw  # type: ignore[return-value]  # R is bytes here
    try:
        message: R = response_class.FromString(raw)  # type: ignore[attr-defined]  # messages of both kinds have it
    except Exception as error:  # what the codecs raise for a broken message is not documented
        raise InternalError(f"The answer of {path} is not what its proto says.") from error
    return message


@contextmanager
def _weft_errors(path: str, source: _Source) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, path) from error
    except grpc.aio.UsageError as error:
        raise _closed(path) from error
    except asyncio.CancelledError as error:
        if cancelled_from_outside():
            raise
        raise source.error or _closed(path) from error


def _closed(path: str) -> WeftError:
    return PartUnavailable(f"{path} was not answered: this process closed the channel or left the call.")
