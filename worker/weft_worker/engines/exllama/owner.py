"""The one thread that touches a library's generator, from the load to the end, and the orders that it works on.

The libraries' own asynchronous classes are not used: after one exception exllamav2's end for good without a word to
anybody, and the reader of a cancelled job waits for ever.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from weft_common.errors import EngineFailed, LoadFailed, WeftError
from weft_worker.engines.base import Delta, FinishReason, Usage
from weft_worker.engines.exllama.answer import AnswerText
from weft_worker.engines.exllama.batch import Batch, Ending, Order, Step
from weft_worker.engines.failures import Failures
from weft_worker.engines.feed import Feed

_CLOSED = "The model was closed meanwhile."
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """Last item of an answer: how it ended, or the failure that ended it."""

    reason: FinishReason = FinishReason.STOP
    usage: Usage = field(default=Usage(0, 0))
    stop_sequence: str = ""
    """A stop string ended it."""
    failure: WeftError | None = None


class Work:
    """One order on its way. State, of the owner's thread: the job once it began, the text so far, whether it ended.

    `released` is set, on the loop, when the generator holds nothing for it any more.
    """

    def __init__(self, order: Order, text: AnswerText, loop: asyncio.AbstractEventLoop) -> None:
        self.order = order
        self.text = text
        self.feed: Feed[Delta | End] = Feed(loop)
        self.released = asyncio.Event()
        self.job: Any = None
        self.is_over = False
        self._loop = loop

    def end(self, end: End) -> None:
        """Tell the end, once; nothing follows it. From the thread."""
        if not self.is_over:
            self.is_over = True
            self.feed.put(end, last=True)
            _tell(self._loop, self.released.set)


@dataclass(frozen=True, slots=True)
class _Command:
    """Something to do in the thread, and whose work it is about."""

    run: Callable[[], None]
    work: Work | None


class Owner:
    """Runs the generator. State, of its thread: the batch, the works in it until they ended, failures in a row without
    a token between them, whether it is to end, why it cannot go on, if so, and whether nobody reads commands any more.

    `on_broken` is told, from the thread, why no generator is left; nothing can be computed from then on.
    """

    def __init__(
        self,
        open_batch: Callable[[], Batch],
        loop: asyncio.AbstractEventLoop,
        on_broken: Callable[[str], None],
        name: str,
    ) -> None:
        self._open = open_batch
        self._loop = loop
        self._on_broken = on_broken
        self._name = name
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._loaded: asyncio.Future[None] = loop.create_future()
        self._works: dict[Any, Work] = {}
        self._failures = Failures()
        self._is_closing = False
        self._broken = ""
        self._is_gone = False
        # A daemon: an end of the process waits for nothing that a library may be stuck in.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def load(self) -> None:
        """Begin the thread and have it load the model; raises LoadFailed with the library's words."""
        self._thread.start()
        await self._loaded

    def begin(self, work: Work) -> None:
        """Have the order computed; its feed gets an end in any case."""
        self._command(lambda: self._begin(work), work)

    def cancel(self, work: Work) -> None:
        """Have the order dropped; `work.released` tells when it is."""
        self._command(lambda: self._drop(work, EngineFailed("The request was cancelled.")), work)

    def finish(self, work: Work) -> None:
        """Have the answer end here, as if it had by itself."""
        self._command(lambda: self._cut(work), work)

    async def close(self, seconds: float) -> bool:
        """Fail what runs and what comes, free the model and end the thread; says whether it did within that time."""
        self._command(self._close)
        await asyncio.to_thread(self._thread.join, seconds)
        return not self._thread.is_alive()

    def _command(self, run: Callable[[], None], work: Work | None = None) -> None:
        self._commands.put(_Command(run, work))
        # In this order: the thread's last look comes after it has said so, and what it does not find is found here.
        if self._is_gone:
            self._obey(wait=False)

    def _run(self) -> None:
        try:
            if (batch := self._opened()) is not None:
                self._own(batch)
        except BaseException as error:  # as in `_guarded`; nothing that the loop itself does should raise
            _logger.exception("engine_thread_failed")
            self._break(f"its thread failed: {error}")
        finally:
            self._leave()

    def _opened(self) -> Batch | None:
        try:
            batch = self._open()
        except WeftError as error:
            _tell(self._loop, _fail, self._loaded, error)
        except BaseException as error:  # as in `_guarded`
            _logger.exception("load_failed")
            failure = LoadFailed(f"{self._name} could not load the model: {type(error).__name__}: {error}")
            _tell(self._loop, _fail, self._loaded, failure)
        else:
            _tell(self._loop, _succeed, self._loaded)
            return batch
        self._is_closing = True
        return None

    def _own(self, batch: Batch) -> None:
        self._batch = batch
        while not self._is_closing:
            # With nothing to compute the thread sleeps here.
            self._obey(wait=bool(self._broken) or batch.is_idle)
            if not self._is_closing and not self._broken and not batch.is_idle:
                self._guarded(self._step)
        self._fail_all(EngineFailed(_CLOSED))
        try:
            batch.close()
        except BaseException:  # as in `_guarded`; the process may still end in order
            _logger.exception("unload_failed")

    def _leave(self) -> None:
        """However the thread ends, nobody waits for it, and nobody takes it for one that still computes."""
        self._fail_all(EngineFailed(self._broken or _CLOSED))
        self._is_closing = self._is_gone = True
        # What was asked for after the end gets an answer too.
        self._obey(wait=False)

    def _obey(self, *, wait: bool) -> None:
        try:
            command = self._commands.get(block=wait)
            while True:
                self._guarded(command.run, command.work)
                command = self._commands.get(block=False)
        except queue.Empty:
            return

    def _guarded(self, run: Callable[[], None], work: Work | None = None) -> None:
        """Run it; an exception is one of the batch, whose state is unknown from there on. `work` then ends in any
        case."""
        try:
            run()
        except (
            BaseException
        ) as error:  # the outermost edge of a thread; a panic in native code is no Exception
            _logger.exception("engine_step_failed")
            self._recover(error)
            if work is not None:
                work.end(End(failure=self._failed(error)))

    def _begin(self, work: Work) -> None:
        if work.is_over:
            return
        if self._is_closing or self._broken:
            work.end(End(failure=EngineFailed(self._broken or _CLOSED)))
            return
        try:
            work.job = self._batch.start(work.order)
            self._works[work.job] = work
        except Exception as error:  # one order that the library does not take is no fault of the others
            _logger.exception("engine_refused_order")
            work.end(End(failure=self._failed(error)))

    def _step(self) -> None:
        for step in self._batch.step():
            if work := self._works.get(step.job):
                self._take(work, step)

    def _take(self, work: Work, step: Step) -> None:
        if step.failure is not None:
            self._drop(work, self._failed(step.failure))
            return
        self._failures.clear()
        is_told = self._say(work, lambda: work.text.read(step.tokens))
        if is_told and (work.text.is_stopped or step.ending is not None):
            self._finish(work, step.ending)

    def _say(self, work: Work, make: Callable[[], Delta | None]) -> bool:
        """Tell what the answer's text makes; where it cannot, the answer fails, which is no fault of the others."""
        try:
            delta = make()
        except Exception as error:  # of the tokenizer, and native code
            _logger.exception("engine_answer_failed")
            self._drop(work, self._failed(error))
            return False
        if delta is not None:
            work.feed.put(delta)
        return True

    def _finish(self, work: Work, ending: Ending | None) -> None:
        if not self._say(work, work.text.finish):
            return
        is_stopped = work.text.is_stopped
        reason = FinishReason.LENGTH if ending is Ending.LIMIT and not is_stopped else FinishReason.STOP
        usage = Usage(len(work.order.prompt), work.text.token_count, self._batch.cached_count(work.job))
        if ending is None:
            self._batch.cancel(work.job)
        # Not before: whoever recovers from what these raise fails all works that are known.
        self._works.pop(work.job, None)
        work.end(End(reason, usage, work.text.stop_sequence))

    def _cut(self, work: Work) -> None:
        if work.job in self._works:
            self._finish(work, None)

    def _drop(self, work: Work, failure: WeftError) -> None:
        if work.is_over:
            return
        if work.job in self._works:
            self._batch.cancel(work.job)
            del self._works[work.job]
        work.end(End(failure=failure))

    def _recover(self, error: BaseException) -> None:
        """Fail what runs, and begin anew with an empty cache, unless the device is lost or it has failed too often."""
        self._fail_all(self._failed(error))
        if self._broken or self._is_closing:
            return
        if why := self._failures.note(str(error)):
            self._break(why)
        else:
            try:
                self._batch.renew()
            except BaseException as failure:  # as in `_guarded`
                _logger.exception("engine_renewal_failed")
                self._break(f"it cannot begin anew: {failure}")

    def _break(self, why: str) -> None:
        self._broken = f"{self._name} cannot go on: {why}"
        self._on_broken(self._broken)

    def _fail_all(self, failure: WeftError) -> None:
        works = list(self._works.values())
        self._works.clear()
        for work in works:
            work.end(End(failure=failure))

    def _failed(self, error: BaseException) -> WeftError:
        if isinstance(error, WeftError):
            return error
        return EngineFailed(f"{self._name} failed: {type(error).__name__}: {error}")

    def _close(self) -> None:
        self._is_closing = True


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:  # the loop is closed, and nobody waits any more
        _logger.debug("loop_gone")


def _succeed(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: "asyncio.Future[None]", error: WeftError) -> None:
    if not future.done():
        future.set_exception(error)
