"""One try to have a chat answered by the upstream: one request, whose connection is closed when nobody listens."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar, cast

import httpx

from weft_common.errors import DeadlineExceeded
from weft_worker.engines.base import Asked, Completion, Event
from weft_worker.engines.openai.failures import Trouble, Upset, read_words
from weft_worker.engines.openai.leash import Leash
from weft_worker.engines.openai.patience import Patience
from weft_worker.engines.openai.sse import EventTooLong, SseReader
from weft_worker.engines.openai.upstream import Upstream
from weft_worker.engines.openai.wire import Answer

T = TypeVar("T")

OK = 200
_CHAT, _COMPLETIONS = "chat/completions", "completions"
_MAX_ERROR_BYTES = 64 << 10
_MAX_WHOLE_BYTES = 16 << 20
# Usage comes right after the reason of the end, and the end of the body right after that.
_TAIL_SECONDS = 5.0
_DRAIN_SECONDS = 0.25
# The right one, and what servers say that were not told of it.
_STREAMS = ("text/event-stream", "text/plain", "application/octet-stream", "")


@dataclass(frozen=True, slots=True)
class Line:
    """The way to an upstream: connections that are kept alive, as many as there are slots."""

    client: httpx.AsyncClient
    upstream: Upstream
    leash: Leash
    upset: Upset


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is sent, with the key as it is now, and until when (on the loop's clock) a word has to come."""

    body: bytes
    key: str = field(repr=False)
    first_at: float


async def answers(line: Line, attempt: Attempt, asked: Asked) -> AsyncGenerator[Event, None]:
    """Yield deltas and the end. Raises Trouble where the answer does not come, breaks off or is none, KeyRefused, or
    the WeftError that the upstream's refusal stands for. Closing it closes the connection at once.
    """
    answer = Answer(asked, line.upset, attempt.key)
    path = _COMPLETIONS if isinstance(asked, Completion) else _CHAT
    async with _opened(line, attempt, path, "text/event-stream") as response:
        if _is_json(_media_type(response)):
            body = await within(line, attempt.first_at, read(response.aiter_bytes(), _MAX_WHOLE_BYTES))
            for said in answer.read_whole(body):
                yield said
            yield answer.finish()
            return
        # A generator it is, though httpx says less.
        whole = cast("AsyncGenerator[bytes, None]", response.aiter_bytes())
        async with aclosing(whole) as pieces:
            async with aclosing(_said(line, attempt, pieces, answer)) as parts:
                async for said in parts:
                    yield said
            yield answer.finish()
            await _drain(line, pieces)


async def whole_answer(line: Line, attempt: Attempt, path: str, most_bytes: int) -> bytes:
    """Ask for something that comes in one piece, within the attempt's time; raises as `answers`."""
    async with _opened(line, attempt, path, "application/json") as response:
        return await within(line, attempt.first_at, read(response.aiter_bytes(), most_bytes))


@asynccontextmanager
async def _opened(line: Line, attempt: Attempt, path: str, accept: str) -> AsyncIterator[httpx.Response]:
    headers = {"content-type": "application/json", "accept": accept}
    url = line.upstream.url(path)
    request = line.client.build_request(
        "POST", url, content=attempt.body, headers=headers | key_header(line, attempt.key)
    )
    response = await within(line, attempt.first_at, line.client.send(request, stream=True))
    try:
        if response.status_code != OK:
            body = await within(line, attempt.first_at, read(response.aiter_bytes(), _MAX_ERROR_BYTES))
            words = read_words(body, response.status_code, attempt.key)
            raise line.upset.of_status(words, response.headers)
        require_api(line, response)
        yield response
    finally:
        # Before its end was read this closes the connection: the upstream sees at once that nobody listens any more.
        await response.aclose()


def require_api(line: Line, response: httpx.Response) -> None:
    """Raise the failure that a web page stands for: something else than an API is below base_url."""
    media_type = _media_type(response)
    if not (_is_json(media_type) or media_type in _STREAMS):
        raise line.upset.no_api(media_type)


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def key_header(line: Line, key: str) -> dict[str, str]:
    """Tell the key as the upstream wants it."""
    if not key:
        return {}
    name = line.upstream.key_header.lower()
    return {name: f"Bearer {key}" if name == "authorization" else key}


async def _said(
    line: Line, attempt: Attempt, pieces: AsyncGenerator[bytes, None], answer: Answer
) -> AsyncGenerator[Event, None]:
    loop = asyncio.get_running_loop()
    patience = Patience(attempt.first_at, line.upstream.silence_timeout.total_seconds())
    reader = SseReader()
    tail_at: float | None = None
    while not answer.done:
        try:
            piece = await within(line, tail_at or patience.deadline, anext(pieces, None))
        except Trouble:
            if answer.has_reason:
                return  # all text has come; what is lost is its usage
            raise
        events, has_word = _events(line, reader, piece), False
        for event in events:
            for said in answer.read(event):
                has_word = True
                yield said
        if piece is None:
            return
        patience.hear(loop.time(), chunk=bool(events), word=has_word, comment=reader.had_comment)
        if answer.has_reason:
            tail_at = tail_at or loop.time() + _TAIL_SECONDS


def _events(line: Line, reader: SseReader, piece: bytes | None) -> list[bytes]:
    try:
        return list(reader.end() if piece is None else reader.feed(piece))
    except EventTooLong as error:
        raise Trouble(line.upset.broke_off("sent something that is no part of an answer")) from error


async def within(line: Line, when: float, awaited: Awaitable[T]) -> T:
    """Wait for the network; what goes wrong there is Trouble."""
    try:
        return await line.leash.until(when, awaited)
    except httpx.TimeoutException as error:
        raise Trouble(line.upset.unavailable("cannot be reached in time")) from error
    except TimeoutError as error:
        raise Trouble(_silent(line)) from error
    except httpx.HTTPError as error:
        raise Trouble(line.upset.unavailable(_what(error))) from error


def _silent(line: Line) -> DeadlineExceeded:
    return DeadlineExceeded(f"The upstream {line.upset.origin} of this model has not answered in time.")


def _what(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"cannot be reached: {error or 'no connection'}"
    return "broke the connection off"


async def read(pieces: AsyncIterator[bytes], most_bytes: int) -> bytes:
    """Read to the end, or a little more than so many bytes."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > most_bytes:
            break
    return bytes(body)


async def _drain(line: Line, pieces: AsyncIterator[bytes]) -> None:
    """Read the end of the body, so that the connection can be used again; one that does not end is closed."""
    when = asyncio.get_running_loop().time() + _DRAIN_SECONDS
    with contextlib.suppress(Trouble):
        await within(line, when, read(pieces, _MAX_ERROR_BYTES))
