"""One request in the library: a thread of the model's own runs it, and its chunks are read on the event loop."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from weft_common.clock import SystemClock
from weft_common.errors import EngineFailed, InvalidRequest, WeftError
from weft_worker.engines.base import Asked, Completion, Event
from weft_worker.engines.feed import Feed
from weft_worker.engines.llamacpp.answer import Answer
from weft_worker.engines.llamacpp.loaded import Loaded, settle
from weft_worker.engines.llamacpp.rest import Rests

_now = SystemClock().monotonic
_logger = logging.getLogger(__name__)


async def running(loaded: Loaded, body: str, asked: Asked) -> AsyncGenerator[Event, None]:
    """Wait for a slot and run one request in it; leaving waits until the library has let go of that."""
    async with loaded.slots:
        if loaded.closing.is_set():
            raise EngineFailed("The model was closed meanwhile.")
        loop = asyncio.get_running_loop()
        rests = Rests(_now(), most=asked.sampling.max_tokens)
        call = _Call(loaded, body, isinstance(asked, Completion), _Feed(loop), rests)
        with loaded.pair.answering():
            returned = loop.run_in_executor(loaded.threads, call.run)
            try:
                async for event in _events(call, asked):
                    yield event
            finally:
                call.cancel()
                await settle(returned)


@dataclass(frozen=True, slots=True)
class _End:
    """Last item of a feed, with the failure of the call if there was one."""

    failure: WeftError | None


_Feed = Feed[str | _End]


@dataclass(frozen=True, slots=True)
class _Call:
    """One request in the library; runs in a thread of the pool."""

    loaded: Loaded
    body: str
    is_completion: bool
    feed: _Feed
    rests: Rests
    cancelled: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Return when the library has let go of the slot; never raises."""
        self.feed.put(_End(self._failure()), last=True)

    def cancel(self) -> None:
        """Have the library let go of the slot, at its next chunk; without effect once it has."""
        self.cancelled.set()
        self.rests.end()

    def _failure(self) -> WeftError | None:
        try:
            if not self._over():
                self._server_call()(self.body, self._on_chunk)
        except ValueError as error:
            return InvalidRequest(f"llama.cpp cannot use the request: {error}")
        except Exception as error:  # the outermost edge of a thread; native code of others
            _logger.exception("engine_call_failed")
            return EngineFailed(f"llama.cpp failed: {error}")
        return EngineFailed("The model was closed meanwhile.") if self.loaded.closing.is_set() else None

    def _server_call(self) -> Callable[[str, Callable[[str], bool]], None]:
        server = self.loaded.server[0]
        call: Callable[[str, Callable[[str], bool]], None] = (
            server.handle_completions if self.is_completion else server.handle_chat_completions
        )
        return call

    def _on_chunk(self, chunk: str) -> bool:
        """Say whether to stop; does nothing that could raise, which the library would swallow."""
        came = _now()
        rest_seconds = self.rests.due(came)
        taken = self.feed.put(chunk)
        self.loaded.pair.look(came, fast=rest_seconds > 0)
        if rest_seconds:
            self.rests.sleep(rest_seconds)
        self.rests.leave(_now())
        return not taken or self._over()

    def _over(self) -> bool:
        return self.cancelled.is_set() or self.loaded.closing.is_set()


async def _events(call: _Call, asked: Asked) -> AsyncGenerator[Event, None]:
    answer = Answer(asked)
    while True:
        # Not before something was said: the first token goes out at once.
        items = await call.feed.take(gather=answer.has_begun)
        end = items.pop() if isinstance(items[-1], _End) else None
        for event in answer.read([item for item in items if isinstance(item, str)]):
            yield event
        if answer.has_begun:
            call.rests.begin()
        if isinstance(end, _End):
            if end.failure is not None:
                raise end.failure
            for event in answer.rest():
                yield event
            # To check a long answer against its schema takes a while, and others stream meanwhile.
            yield await asyncio.to_thread(answer.finish) if answer.is_held else answer.finish()
            return
