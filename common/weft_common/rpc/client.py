"""Calls other parts by the paths of their rpcs; whatever goes wrong is a WeftError."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack

import grpc

from weft_common.errors import InternalError, PartUnavailable, WeftError
from weft_common.rpc.status import from_rpc_error
from weft_common.rpc.wire import LIMITS, cancelled_from_outside, to_bytes

R = TypeVar("R")
Metadata = Mapping[str, str] | Iterable[tuple[str, str]]
Source = AsyncIterable[Any] | Iterable[Any]
OnMetadata = Callable[[Mapping[str, str]], None]

_OPTIONS: tuple[tuple[str, int], ...] = (
    *LIMITS,
    # A part that restarts on its port is used again within a second; grpc's default lets two minutes pass.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Parts reach each other directly; a proxy in the user's environment is for the internet.
    ("grpc.enable_http_proxy", 0),
)


@asynccontextmanager
async def open_channel(
    target: str, *, connect_seconds: float = 1.0, silence_seconds: float = 15.0
) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to `host:port` or `unix:path`; leaving the block ends its calls with PartUnavailable.

    An attempt to connect fails after `connect_seconds` at the earliest; a busy machine may need most of a second. A
    peer that is stopped or unplugged is noticed within `silence_seconds`, also during a long silent stream.
    """
    options = (
        *_OPTIONS,
        # Beside its name, this one is the least time that an attempt to connect gets.
        ("grpc.min_reconnect_backoff_ms", int(connect_seconds * 1_000)),
        ("grpc.keepalive_time_ms", int(silence_seconds * 2_000 / 3)),
        ("grpc.keepalive_timeout_ms", int(silence_seconds * 1_000 / 3)),
        # Where this one is longer, a minute by default, a ping without an answer ends nothing before it.
        ("grpc.http2.ping_timeout_ms", int(silence_seconds * 1_000 / 3)),
    )
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield channel


class CallOptions(TypedDict, total=False):
    """What a single call may ask for: its own timeout in seconds, and metadata that joins the client's.

    `deadline` is in the signatures of generated stubs; it is grpclib's and has no user here.
    """

    timeout: float | None
    metadata: Metadata | None
    deadline: None


class RpcClient:
    """Calls rpcs with betterproto2 or upb messages; bytes come back where `response_class` is bytes.

    `timeout` bounds calls that are answered once, `stream_timeout` those whose answers stream. `on_metadata` hears
    the initial metadata at the first answer and the trailing metadata of a success.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        metadata: Metadata = (),
        timeout: float | None = None,
        stream_timeout: float | None = None,
        on_metadata: OnMetadata | None = None,
    ) -> None:
        self._channel = channel
        self._metadata = _pairs(metadata)
        self._timeout = timeout
        self._stream_timeout = stream_timeout
        self._on_metadata = on_metadata

    async def unary(
        self, path: str, request: Any, response_class: type[R], **options: Unpack[CallOptions]
    ) -> R:
        """Send one message, get one."""
        start = self._channel.unary_unary(path)
        return await self._once(start, path, _Requests(one=request), response_class, **options)

    async def upload(
        self, path: str, requests: Source, response_class: type[R], **options: Unpack[CallOptions]
    ) -> R:
        """Stream messages, get one."""
        start = self._channel.stream_unary(path)
        return await self._once(start, path, _Requests(many=requests), response_class, **options)

    def stream(
        self, path: str, request: Any, response_class: type[R], **options: Unpack[CallOptions]
    ) -> "Responses[R]":
        """Send one message, get a stream."""
        start = self._channel.unary_stream(path)
        return self._many(start, path, _Requests(one=request), response_class, **options)

    def exchange(
        self, path: str, requests: Source, response_class: type[R], **options: Unpack[CallOptions]
    ) -> "Responses[R]":
        """Stream messages both ways."""
        start = self._channel.stream_stream(path)
        return self._many(start, path, _Requests(many=requests), response_class, **options)

    async def _once(
        self,
        start: Any,
        path: str,
        requests: "_Requests",
        response_class: type[R],
        **options: Unpack[CallOptions],
    ) -> R:
        with _weft_errors(path, requests):
            call = start(requests.source(), **self._arguments(self._timeout, options))
            raw = await call
            await self._tell(call.initial_metadata)
            await self._tell(call.trailing_metadata)
        return _parse(response_class, raw, path)

    def _many(
        self,
        start: Any,
        path: str,
        requests: "_Requests",
        response_class: type[R],
        **options: Unpack[CallOptions],
    ) -> "Responses[R]":
        with _weft_errors(path, requests):
            call = start(requests.source(), **self._arguments(self._stream_timeout, options))
        return Responses(call, requests, path, response_class, self._tell)

    def _arguments(self, timeout: float | None, options: CallOptions) -> dict[str, Any]:
        own = options.get("timeout")
        metadata = (*self._metadata, *_pairs(options.get("metadata") or ()))
        return {"timeout": timeout if own is None else own, "metadata": metadata}

    async def _tell(self, metadata: Callable[[], Awaitable[Any]]) -> None:
        if self._on_metadata is not None and (pairs := await metadata()):
            self._on_metadata({key: value for key, value in pairs if isinstance(value, str)})


class Responses(Generic[R]):
    """The answers of a stream; no generator, so that dropping it cancels the call at once; state: `_begun`."""

    def __init__(
        self,
        call: Any,
        requests: "_Requests",
        path: str,
        response_class: type[R],
        tell: Callable[[Callable[[], Awaitable[Any]]], Awaitable[None]],
    ) -> None:
        self._call = call
        self._requests = requests
        self._path = path
        self._response_class = response_class
        self._tell = tell
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        with _weft_errors(self._path, self._requests):
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


class _Requests:
    """What a call sends, one message or many; state: `error`, what the caller's own iterator raised."""

    def __init__(self, *, one: Any = None, many: Source | None = None) -> None:
        self._one = one
        self._many = many
        self.error: Exception | None = None

    def source(self) -> Any:
        """Give grpc.aio bytes, or an iterator of them."""
        return to_bytes(self._one) if self._many is None else self._each(self._many)

    async def _each(self, many: Source) -> AsyncIterator[bytes]:
        try:
            if isinstance(many, AsyncIterable):
                async for message in many:
                    yield to_bytes(message)
            else:
                for message in many:
                    yield to_bytes(message)
        except Exception as error:
            self.error = error  # grpc.aio only logs it and cancels the call
            raise


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
def _weft_errors(path: str, requests: _Requests) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, path) from error
    except grpc.aio.UsageError as error:
        raise _closed(path) from error
    except asyncio.CancelledError as error:
        if cancelled_from_outside():
            raise
        raise requests.error or _closed(path) from error


def _closed(path: str) -> WeftError:
    return PartUnavailable(f"{path} was not answered: this process closed the channel or left the call.")
