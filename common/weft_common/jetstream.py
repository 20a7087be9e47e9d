"""A stream that NATS keeps on disk: written in order, each message once, and read by sequence.

Readers say what they have seen last and hold nothing at the server, so a reader that comes back, here or elsewhere,
misses nothing and gets nothing twice. (A consumer, the usual way, is state at the server that has to be made again
after each lost connection, and flow control of its own beside gRPC's.)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.msg import Msg

from weft_common.bus import Bus
from weft_common.errors import DeadlineExceeded, PartUnavailable

_API = "$JS.API"
_SECONDS = 2.0
_RETRY_AFTER = timedelta(seconds=2)
_MAX_BATCH_BYTES = 1 << 20
_MAX_LINE = 300
_OTHER_SETTINGS = 10058
_NO_SUCH_STREAM = 10059


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What NATS keeps, and for how long."""

    name: str
    subjects: tuple[str, ...]
    max_age: timedelta
    max_messages: int
    max_bytes: int
    # A message that is sent again within this time is kept once.
    duplicate_window: timedelta

    def document(self) -> Mapping[str, object]:
        """The stream as NATS is asked for it."""
        return {
            "name": self.name,
            "subjects": self.subjects,
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "max_age": _nanoseconds(self.max_age),
            "max_msgs": self.max_messages,
            "max_bytes": self.max_bytes,
            "duplicate_window": _nanoseconds(self.duplicate_window),
            "num_replicas": 1,
            "allow_direct": True,
        }


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as the stream keeps it."""

    sequence: int
    payload: bytes


class Stream:
    """One stream; every call raises PartUnavailable with `part` nats where NATS, or its JetStream, does not answer."""

    def __init__(self, bus: Bus, settings: StreamSettings) -> None:
        self._bus = bus
        self._settings = settings

    async def make(self) -> None:
        """Have the stream if it is missing; one that an operator has set up otherwise stays as it is."""
        await self._ask("STREAM.CREATE", self._settings.document(), accept=_OTHER_SETTINGS)

    async def publish(self, subject: str, payload: bytes, message_id: str) -> int:
        """Have a message kept, once however often it is sent; returns its sequence."""
        try:
            headers = {"Nats-Msg-Id": message_id}
            raw = await self._bus.request(subject, payload, _SECONDS, headers=headers)
        except (PartUnavailable, DeadlineExceeded) as error:
            raise _away(error) from error
        sequence = _answer(raw).get("seq")
        if not isinstance(sequence, int):
            raise _unavailable(f"Somebody else than JetStream answers on {subject}.")
        return sequence

    async def last_sequence(self) -> int:
        """Sequence of the newest message; 0 if there has been none."""
        found = await self._ask("STREAM.INFO", {}, accept=_NO_SUCH_STREAM)
        return int(found["state"]["last_seq"]) if "state" in found else 0

    async def read(
        self, after: int, *, subject: str, count: int, since: datetime | None = None
    ) -> Sequence[Kept]:
        """The next messages after a sequence, oldest first, `count` at most; with `since`, none older than that."""
        request: dict[str, object] = {"batch": count, "max_bytes": _MAX_BATCH_BYTES, "next_by_subj": subject}
        if since is None:
            request["seq"] = after + 1
        else:
            request["start_time"] = since.astimezone(UTC).isoformat()
        try:
            messages = await self._bus.request_many(
                f"{_API}.DIRECT.GET.{self._settings.name}",
                json.dumps(request).encode(),
                _SECONDS,
                is_last=_is_last,
            )
        except (PartUnavailable, DeadlineExceeded) as error:
            raise _away(error) from error
        return [_kept(m) for m in messages if "Nats-Sequence" in (m.headers or {})]

    async def _ask(self, what: str, body: Mapping[str, object], *, accept: int) -> Mapping[str, Any]:
        try:
            raw = await self._bus.request(
                f"{_API}.{what}.{self._settings.name}", json.dumps(body).encode(), _SECONDS
            )
        except (PartUnavailable, DeadlineExceeded) as error:
            raise _away(error) from error
        return _answer(raw, accept=accept)


def _answer(raw: bytes, *, accept: int = 0) -> Mapping[str, Any]:
    """What JetStream answered; the error `accept` counts as an answer."""
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise _unavailable(f"NATS answers with something that is no JSON: {raw[:_MAX_LINE]!r}") from error
    if not isinstance(found, dict):
        raise _unavailable(f"NATS answers with something else than an object: {raw[:_MAX_LINE]!r}")
    problem = found.get("error")
    if problem and problem.get("err_code") != accept:
        raise _unavailable(f"JetStream refuses: {str(problem.get('description', problem))[:_MAX_LINE]}.")
    return found


def _is_last(message: Msg) -> bool:
    """Whether a batch ends here: with a status, or, from servers before 2.11, after its only message."""
    headers = message.headers or {}
    return "Status" in headers or "Nats-Num-Pending" not in headers


def _kept(message: Msg) -> Kept:
    return Kept(int((message.headers or {})["Nats-Sequence"]), message.data)


def _away(error: PartUnavailable | DeadlineExceeded) -> PartUnavailable:
    """Why there is no answer: nobody responds for JetStream where it is off, and for a stream that is missing."""
    if error.metadata.get("part") == "worker":
        return _unavailable("NATS has no such stream, or no JetStream to keep one.")
    return _unavailable("NATS does not answer.")


def _unavailable(what: str) -> PartUnavailable:
    return PartUnavailable(what, retry_after=_RETRY_AFTER, metadata={"part": "nats"})


def _nanoseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1_000
