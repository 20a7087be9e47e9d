"""The bus: NATS as a hint that may be lost, behind a connection that is never given up.

Payloads are bytes; callers encode and decode (weft.bus.v1). Each connection is a fresh NATS client and this
module brings it back: the library's own reconnect ends for good on some server errors, a refused token among
them, and buffers what is published meanwhile, which would replay stale load reports.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from weft_common.errors import DeadlineExceeded, InternalError, PartUnavailable

Handler = Callable[[bytes], Awaitable[None]]
Responder = Callable[[bytes], Awaitable[bytes]]

RETRY_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.0)
MAX_PENDING_MESSAGES = 4096
MAX_PENDING_BYTES = 8 * 1024 * 1024
MAX_CONCURRENT_REPLIES = 64
_CONNECT_SECONDS = 2
_PING_EVERY_SECONDS = 2.0
_PONG_SECONDS = 2
_CLOSE_SECONDS = 0.5
_ERROR_HEADER = "Nats-Service-Error"  # the name that NATS's own service API uses
_NO_RESPONDERS = "503"
_RETRY_AFTER = timedelta(seconds=2)

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def open_bus(url: str, *, name: str) -> AsyncIterator["Bus"]:
    """Open a bus on `nats://TOKEN@host:port` that connects, and connects again, beside the body.

    Enters at once, also while NATS is down; `Bus.wait_connected` waits where a caller must.
    """
    bus = Bus(url, name)
    async with asyncio.TaskGroup() as tasks:
        link = tasks.create_task(bus.stay_connected())
        try:
            yield bus
        finally:
            link.cancel()


@dataclass(eq=False, slots=True)
class _Interest:
    """A subject and who takes its messages; state: `subscription`, of the present connection."""

    subject: str
    receive: Callable[[Msg], None]
    subscription: Subscription | None = None

    async def attach(self, client: Client) -> None:
        self.subscription = await client.subscribe(
            self.subject,
            cb=self._on_message,
            pending_msgs_limit=MAX_PENDING_MESSAGES,
            pending_bytes_limit=MAX_PENDING_BYTES,
        )

    async def _on_message(self, message: Msg) -> None:
        self.receive(message)


class Bus:
    """One part's place on the bus.

    State: `_client` (None while there is no connection), `_up`, `_interests` (they outlive connections),
    `_replies` (requests under way) and `_said` (what was logged last, so that a state is logged once).
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._said = ""
        self._replies: dict[str, asyncio.Future[Msg]] = {}
        self._inbox = f"_INBOX.{secrets.token_hex(12)}"
        self._interests = [_Interest(f"{self._inbox}.*", self._take_reply)]

    @property
    def connected(self) -> bool:
        """Whether NATS answers and knows every subscription."""
        return self._up.is_set()

    async def wait_connected(self, timeout_seconds: float) -> bool:
        """Wait for a connection; tells whether there is one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._up.wait()
        return self.connected

    async def publish(self, subject: str, payload: bytes) -> bool:
        """Send to whoever listens; without a connection, or behind a stalled one, drop it (False)."""
        return await self._send(subject, payload)

    async def request(self, subject: str, payload: bytes, timeout_seconds: float) -> bytes:
        """Ask whoever responds on a subject.

        Raises PartUnavailable (part=nats without a connection, part=worker without a responder),
        DeadlineExceeded when nobody answered in time, and InternalError when the responder failed.
        """
        token = secrets.token_hex(8)
        reply = self._replies[token] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_seconds):
                if not await self._send(subject, payload, reply_to=f"{self._inbox}.{token}"):
                    raise _missing("nats")
                message = await reply
        except TimeoutError as error:
            raise DeadlineExceeded(f"No answer on {subject} within {timeout_seconds:g} s.") from error
        finally:
            del self._replies[token]
        return _read_reply(subject, message)

    @contextlib.asynccontextmanager
    async def subscribe(self, subject: str, handler: Handler) -> AsyncIterator[None]:
        """Hand every message on a subject to `handler`, one after the other, until the body is left.

        When the handler falls behind, the oldest messages are dropped; what it raises is logged.
        """
        inbox: asyncio.Queue[bytes] = asyncio.Queue(MAX_PENDING_MESSAGES)

        def receive(message: Msg) -> None:
            if inbox.full():
                inbox.get_nowait()
            inbox.put_nowait(message.data)

        async with asyncio.TaskGroup() as tasks:
            consumer = tasks.create_task(_consume(subject, inbox, handler))
            async with self._interested(subject, receive):
                yield
            consumer.cancel()

    @contextlib.asynccontextmanager
    async def respond(self, subject: str, handler: Responder) -> AsyncIterator[None]:
        """Answer requests on a subject, several at a time, until the body is left.

        A lost connection does not interrupt a handler; leaving the body does.
        """
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:

            def receive(message: Msg) -> None:
                if len(running) >= MAX_CONCURRENT_REPLIES:
                    _log.warning("bus_request_dropped", extra={"subject": subject, "running": len(running)})
                    return
                task = tasks.create_task(self._answer(message, handler))
                running.add(task)
                task.add_done_callback(running.discard)

            async with self._interested(subject, receive):
                yield
            for task in running:
                task.cancel()

    async def stay_connected(self) -> None:
        """Connect for ever; cancelled by `open_bus`."""
        failures = 0
        while True:
            _honour_cancellation()
            lost = asyncio.Event()
            client = Client()
            try:
                await self._connect(client, lost)
                failures = 0
                await _until_lost(client, lost)
                self._say("bus_disconnected", "the connection was closed")
            except (OSError, nats_errors.Error, TimeoutError) as error:
                event = "bus_disconnected" if self._up.is_set() else "bus_unreachable"
                self._say(event, str(error) or type(error).__name__)
            finally:
                self._forget_connection()
                await _abandon(client)
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    async def _connect(self, client: Client, lost: asyncio.Event) -> None:
        seen: list[str] = []

        async def note_error(error: Exception) -> None:
            seen[:] = [str(error) or type(error).__name__]
            if self._client is client:
                self._say("bus_error", seen[0])

        async def note_closed() -> None:
            lost.set()

        try:
            await client.connect(
                self._url,
                name=self._name,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # 0 would mean for ever, inside connect()
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_SECONDS,
                pending_size=MAX_PENDING_BYTES,
                error_cb=note_error,
                closed_cb=note_closed,
            )
        except nats_errors.NoServersError as error:
            raise ConnectionError(*seen) from error  # the library's own text says nothing about the cause
        _honour_cancellation()
        # From here on, a new interest attaches itself.
        self._client, known = client, tuple(self._interests)
        for interest in known:
            await interest.attach(client)
        await _settle(client)
        self._up.set()
        self._say("bus_connected")

    def _forget_connection(self) -> None:
        self._client = None
        self._up.clear()
        for interest in self._interests:
            interest.subscription = None
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(_missing("nats"))

    async def _send(
        self, subject: str, payload: bytes, *, reply_to: str = "", headers: dict[str, str] | None = None
    ) -> bool:
        client = self._client
        if client is None or not client.is_connected or client.pending_data_size > MAX_PENDING_BYTES // 2:
            return False
        try:
            await client.publish(subject, payload, reply=reply_to, headers=headers)
        except (nats_errors.ConnectionClosedError, nats_errors.OutboundBufferLimitError):
            return False
        return True

    def _take_reply(self, message: Msg) -> None:
        reply = self._replies.get(message.subject.rpartition(".")[2])
        if reply is not None and not reply.done():
            reply.set_result(message)

    async def _answer(self, message: Msg, handler: Responder) -> None:
        try:
            payload, headers = await handler(message.data), None
        except Exception as error:  # noqa: BLE001 (a request's outermost edge; the caller is told)
            _log.error("bus_responder_failed", extra={"subject": message.subject}, exc_info=error)
            payload, headers = b"", {_ERROR_HEADER: f"{type(error).__name__}: {error}"}
        if message.reply:
            await self._send(message.reply, payload, headers=headers)

    @contextlib.asynccontextmanager
    async def _interested(self, subject: str, receive: Callable[[Msg], None]) -> AsyncIterator[None]:
        interest = _Interest(subject, receive)
        self._interests.append(interest)
        client = self._client
        if client is not None:
            # A connection that is lost here comes back with every interest attached.
            with contextlib.suppress(nats_errors.Error, OSError):
                await interest.attach(client)
                await _settle(client)
        try:
            yield
        finally:
            self._interests.remove(interest)
            if interest.subscription is not None:
                with contextlib.suppress(nats_errors.Error, OSError):
                    await interest.subscription.unsubscribe()

    def _say(self, event: str, reason: str = "") -> None:
        if f"{event} {reason}" == self._said:
            return
        self._said = f"{event} {reason}"
        level = logging.INFO if event == "bus_connected" else logging.WARNING
        _log.log(level, event, extra={"reason": reason} if reason else {})


async def _consume(subject: str, inbox: "asyncio.Queue[bytes]", handler: Handler) -> None:
    while True:
        payload = await inbox.get()
        try:
            await handler(payload)
        except Exception as error:  # noqa: BLE001 (a subscription's outermost edge)
            _log.error("bus_handler_failed", extra={"subject": subject}, exc_info=error)


async def _settle(client: Client) -> None:
    """Return when the server knows what was subscribed so far.

    The library writes a PING ahead of commands that its flusher still holds; by the first PONG they are out.
    """
    await _ping(client)
    await _ping(client)


async def _until_lost(client: Client, lost: asyncio.Event) -> None:
    """Return when the connection closed, raise when it stalled: a stopped server keeps its sockets open."""
    while not client.is_closed:
        try:
            async with asyncio.timeout(_PING_EVERY_SECONDS):
                await lost.wait()
        except TimeoutError:
            await _ping(client)


async def _ping(client: Client) -> None:
    await client.flush(_PONG_SECONDS)
    _honour_cancellation()


def _honour_cancellation() -> None:
    """Raise the CancelledError that the library swallowed, if it did.

    It waits with asyncio.wait_for, which up to Python 3.11 returns normally when what it waits for is done at the
    very moment of the cancellation; a task that misses its cancellation keeps its parent waiting for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _abandon(client: Client) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()
    except (OSError, nats_errors.Error, TimeoutError):
        # Its buffers do not drain. Private, but nothing else cuts a connection without waiting for its peer.
        writer = getattr(client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


def _read_reply(subject: str, message: Msg) -> bytes:
    headers = message.headers or {}
    if headers.get("Status") == _NO_RESPONDERS:
        raise _missing("worker", f"Nobody answers on {subject}.")
    if _ERROR_HEADER in headers:
        raise InternalError(f"The responder on {subject} failed: {headers[_ERROR_HEADER]}")
    return message.data


def _missing(part: str, what: str = "NATS cannot be reached: the command was not sent.") -> PartUnavailable:
    return PartUnavailable(what, retry_after=_RETRY_AFTER, metadata={"part": part})
