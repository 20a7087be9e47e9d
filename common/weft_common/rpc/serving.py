"""Serves one call: guard, parse, run the method, send its answers, and turn what it raises into a status."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from weft_common import logs
from weft_common.dialects import RPCS
from weft_common.errors import InternalError, InvalidRequest, WeftError
from weft_common.rpc.context import CallContext, call_scope
from weft_common.rpc.status import to_status
from weft_common.rpc.wire import cancelled_from_outside, to_bytes

Guard = Callable[[CallContext], None]
_HTTP_STATUS = "x-weft-http-status"
# What Envoy's transcoder makes of codes that stand for several of our errors.
_TRANSCODED = {grpc.StatusCode.FAILED_PRECONDITION: 400, grpc.StatusCode.RESOURCE_EXHAUSTED: 429}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Method:
    """One rpc: where it is, its kind, the function behind it, and how its requests are read."""

    path: str
    cardinality: Cardinality
    fn: Callable[[Any], Any]
    parse: Callable[[bytes], Any]


class _CallerLeftError(Exception):
    """An answer could not be sent, because the call has ended already."""


async def answer_once(method: Method, guard: Guard, source: Any, context: Any) -> bytes:
    """Serve a call that has one answer."""
    with call_scope(_open_call(context)) as call:
        try:
            guard(call)
            answer = to_bytes(await method.fn(_requests(method, source)))
            with _caller_may_leave():
                await _send_initial(call, context)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (the outermost edge of an rpc)
            await _fail(method, call, context, error)
        _set_trailing(call, context)
        return answer


async def answer_stream(method: Method, guard: Guard, source: Any, context: Any) -> None:
    """Serve a call that has many answers; the method's generator is closed before this ends, in any case."""
    with call_scope(_open_call(context)) as call:
        try:
            guard(call)
            await _stream(method.fn(_requests(method, source)), call, context)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (the outermost edge of an rpc)
            await _fail(method, call, context, error)
        _set_trailing(call, context)


def _open_call(context: Any) -> CallContext:
    # Keys that end in -bin hold bytes; none of ours does.
    metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
    logs.request_id.set(metadata.get("x-request-id", ""))
    return CallContext(metadata, peer=context.peer(), time_remaining=context.time_remaining)


def _requests(method: Method, source: Any) -> Any:
    if method.cardinality in (Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM):
        return _parse(method, source)
    return _parse_each(method, source)


async def _parse_each(method: Method, source: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for raw in source:
        yield _parse(method, raw)


def _parse(method: Method, raw: bytes) -> Any:
    try:
        return method.parse(raw)
    except Exception as error:  # what the codecs raise for a broken message is not documented
        raise InvalidRequest(_unreadable(method.path)) from error


def _unreadable(path: str) -> str:
    """What is said of a message that is none; clients of foreign dialects know of URLs and not of our rpcs."""
    if path.startswith(RPCS):
        return "The request cannot be read: all text in its path and its query has to be UTF-8."
    return f"The message for {path} is not what its proto says."


async def _stream(answers: Any, call: CallContext, context: Any) -> None:
    if not hasattr(answers, "__aiter__"):
        await answers  # a method without a `yield` is no generator; it can only end or raise
        return
    async with AsyncExitStack() as stack:
        if hasattr(answers, "aclose"):
            stack.push_async_callback(answers.aclose)
        async for message in answers:
            raw = to_bytes(message)
            with _caller_may_leave():
                await _send_initial(call, context)
                await context.write(raw)


async def _send_initial(call: CallContext, context: Any) -> None:
    # By hand only where there is something to send: otherwise it travels in the first message's own batch.
    if pairs := call.take_initial():
        await context.send_initial_metadata(pairs)


@contextmanager
def _caller_may_leave() -> Iterator[None]:
    try:
        yield
    except grpc.aio.BaseError as error:  # the call ended, and grpc will cancel this task a moment later
        raise _CallerLeftError from error


def _set_trailing(call: CallContext, context: Any) -> None:
    if pairs := call.trailing():
        context.set_trailing_metadata(pairs)


async def _fail(method: Method, call: CallContext, context: Any, error: BaseException) -> NoReturn:
    """End the call with the status of `error`; before the first message that is a Trailers-Only answer."""
    if isinstance(error, asyncio.CancelledError) and cancelled_from_outside():
        error = _own_reason(call, error)
    cause = _sole_cause(error)
    if isinstance(cause, _CallerLeftError):
        raise asyncio.CancelledError from error
    if context.cancelled() or context.done():  # nobody is left to tell
        if not isinstance(cause, WeftError):
            _unforeseen(method, cause)
        raise asyncio.CancelledError from error
    if isinstance(cause, GRPCError):  # what the generated base raises for a method that nobody wrote
        await context.abort(_code(cause.status.value), cause.message or "", call.trailing())
    failure = cause if isinstance(cause, WeftError) else _unforeseen(method, cause)
    status = to_status(failure)
    trailing = (*call.trailing(), *_http_status(failure, call), *status.trailing_metadata)
    await context.abort(status.code, status.details, trailing)
    raise AssertionError("abort always raises")


def _http_status(error: WeftError, call: CallContext) -> Iterator[tuple[str, str]]:
    """What REST callers are to see where Envoy's transcoder would say something else, unless the handler said it."""
    said = any(key == _HTTP_STATUS for key, _ in call.trailing())
    if not said and error.http_status != _TRANSCODED.get(error.code, error.http_status):
        yield _HTTP_STATUS, str(error.http_status)


def _own_reason(call: CallContext, error: asyncio.CancelledError) -> WeftError:
    """Why the handler cut its own call; whoever else cancels it needs no answer."""
    task = asyncio.current_task()
    if call.cut_by is None or task is None or task.uncancel():
        raise error
    return call.cut_by


def _sole_cause(error: BaseException) -> BaseException:
    """Look into groups of one, as a TaskGroup inside a handler raises them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _unforeseen(method: Method, cause: BaseException) -> WeftError:
    _logger.error("rpc_failed", exc_info=cause, extra={"rpc": method.path})
    return InternalError(f"{method.path} failed in a way that nobody foresaw; the server's log says more.")


def _code(number: int) -> Any:
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)
