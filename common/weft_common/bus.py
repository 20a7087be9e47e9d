"""The bus: NATS as a hint that may be lost, behind a connection that is never given up.

Payloads are bytes; callers encode and decode (weft.bus.v1). Each connection is a fresh NATS client and this
module brings it back: the library's own reconnect ends for good on some server errors, a refused token among
them, and buffers what is published meanwhile, which would replay stale load reports.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from weft_common.bus_link import abandon, honour_cancellation, settle, until_lost
from weft_common.errors import DeadlineExceeded, InternalError, PartUnavailable

Handler = Callable[[bytes], Awaitable[None]]
Responder = Callable[[bytes], Awaitable[bytes]]

RETRY_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.0)
MAX_PENDING_MESSAGES = 4096
MAX_PENDING_BYTES = 8 * 1024 * 1024
MAX_CONCURRENT_REPLIES = 64
_CONNECT_SECONDS = 2
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
class _Replies:
    """What was answered to one request so far; state: `messages`."""

    done: asyncio.Future[None]
    is_last: Callable[[Msg], bool]
    messages: list[Msg] = field(default_factory=list)

    def take(self, message: Msg) -> None:
        if not self.done.done():
            self.messages.append(message)
            if _is_from_nobody(message) or self.is_last(message):
                self.done.set_result(None)


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
        self._replies: dict[str, _Replies] = {}
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

    async def request(
        self,
        subject: str,
        payload: bytes,
        timeout_seconds: float,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Ask whoever responds on a subject.

        Raises PartUnavailable (part=nats without a connection, part=worker without a responder),
        DeadlineExceeded when nobody answered in time, and InternalError when the responder failed.
        """
        (message,) = await self.request_many(
            subject, payload, timeout_seconds, is_last=lambda _: True, headers=headers
        )
        if failure := (message.headers or {}).get(_ERROR_HEADER):
            raise InternalError(f"The responder on {subject} failed: {failure}")
        return message.data

    async def request_many(
        self,
        subject: str,
        payload: bytes,
        timeout_seconds: float,
        *,
        is_last: Callable[[Msg], bool],
        headers: Mapping[str, str] | None = None,
    ) -> list[Msg]:
        """Ask whoever responds with several messages, and return them with the last one; raises as `request`."""
        token = secrets.token_hex(8)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        replies = self._replies[token] = _Replies(done, is_last)
        sent = {**headers} if headers else None
        try:
            async with asyncio.timeout(timeout_seconds):
                if not await self._send(subject, payload, reply_to=f"{self._inbox}.{token}", headers=sent):
                    raise _missing("nats")
                await done
        except TimeoutError as error:
            raise DeadlineExceeded(f"No answer on {subject} within {timeout_seconds:g} s.") from error
        finally:
            del self._replies[token]
        if _is_from_nobody(replies.messages[-1]):
            raise _missing("worker", f"Nobody answers on {subject}.")
        return replies.messages

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
            honour_cancellation()
            lost = asyncio.Event()
            client = Client()
            try:
                await self._connect(client, lost)
                failures = 0
                await until_lost(client, lost)
                self._say("bus_disconnected", "the connection was closed")
            except (OSError, nats_errors.Error, TimeoutError) as error:
                event = "bus_disconnected" if self._up.is_set() else "bus_unreachable"
                self._say(event, str(error) or type(error).__name__)
            finally:
                self._forget_connection()
                await abandon(client)
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
        honour_cancellation()
        # From here on, a new interest attaches itself.
        self._client, known = client, tuple(self._interests)
        for interest in known:
            await interest.attach(client)
        await settle(client)
        self._up.set()
        self._say("bus_connected")

    def _forget_connection(self) -> None:
        self._client = None
        self._up.clear()
        for interest in self._interests:
            interest.subscription = None
        for replies in self._replies.values():
            if not replies.done.done():
                replies.done.set_exception(_missing("nats"))

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
        replies = self._replies.get(message.subject.rpartition(".")[2])
        if replies is not None:
            replies.take(message)

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
                await settle(client)
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


def _is_from_nobody(message: Msg) -> bool:
    """Whether the server itself says that nobody responds there."""
    return bool((message.headers or {}).get("Status") == _NO_RESPONDERS)


def _missing(part: str, what: str = "NATS cannot be reached: the command was not sent.") -> PartUnavailable:
    return PartUnavailable(what, retry_after=_RETRY_AFTER, metadata={"part": part})
