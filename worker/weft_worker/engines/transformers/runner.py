"""The thread that owns a model: it takes answers in and out between steps, and all that run advance with each step."""

import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from weft_common.errors import EngineFailed, WeftError
from weft_worker.engines.base import Event, FinishReason, TokenLogprob
from weft_worker.engines.failures import Failures
from weft_worker.engines.feed import Feed
from weft_worker.engines.guidance import Guidance
from weft_worker.engines.transformers.answer import Answer
from weft_worker.engines.transformers.batch import Batch, Forward, Solo, can_be_padded, new_cache, prefill
from weft_worker.engines.transformers.choosing import choose
from weft_worker.engines.transformers.sampler import Describe, Sampler

# Others advance, and leavers are noticed, between these parts of a long prompt.
_PREFILL_TOKENS = 512
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """Last item of a feed, with the failure of the answer if there was one."""

    failure: WeftError | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One answer; state, of the thread alone: how much of the prompt is in the cache, and the token that follows it."""

    prompt: Sequence[int]
    answer: Answer
    sampler: Sampler
    guidance: Guidance | None
    must_keep_form: bool
    limit: int
    """Tokens at most."""
    end_tokens: frozenset[int]
    feed: Feed[Event | End]
    cancelled: threading.Event = field(default_factory=threading.Event)
    cache: Any = None
    prefilled: int = 0
    next_token: int = 0


class Runner:
    """Runs jobs; state, of its thread alone: those whose prompt waits for its turn, those that run, row by row, how
    many steps have failed since the last token, why it cannot go on, if so, and whether nobody reads commands any more.

    `on_broken` is told that, from the thread.
    """

    def __init__(self, model: Any, describe: Describe, on_broken: Callable[[str], None]) -> None:
        self._forward = Forward(model)
        self._is_padded = can_be_padded(model.config)
        self._describe = describe
        self._commands: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._rows = self._no_rows()
        self._failures = Failures()
        self._broken = ""
        self._is_gone = False
        self._on_broken = on_broken
        self._thread = threading.Thread(target=self._run, name="transformers", daemon=True)

    def start(self) -> None:
        """Begin; nothing runs before."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Take a job in; its feed ends with an End, whatever happens."""
        self._commands.put(job)
        # In this order: the thread's last look comes after it has said so, and what it does not find is found here.
        if self._is_gone:
            self._refuse_rest()

    def stop(self, timeout_seconds: float) -> bool:
        """End what runs, with EngineFailed, and the thread; blocks. Says whether it is over."""
        self._commands.put(None)
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _no_rows(self) -> Batch | Solo:
        return Batch(self._forward) if self._is_padded else Solo(self._forward)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._take_commands():
                    self._advance_or_recover()
        except BaseException as error:  # as below; nothing that the loop itself does should raise
            _logger.exception("engine_thread_failed")
            self._break(f"its thread failed: {_one_line(error)}")
        finally:
            self._leave()

    def _advance_or_recover(self) -> None:
        try:
            self._advance()
        # The outermost edge of a thread: torch fails in many ways, and a panic in native code is no Exception.
        except BaseException as error:
            _logger.exception("engine_step_failed")
            self._recover(f"torch failed: {_one_line(error)}")

    def _leave(self) -> None:
        """However the thread ends, nobody waits for it, and nobody takes it for one that still computes."""
        try:
            self._fail_all(self._over())
        finally:
            self._is_gone = True
            # What was asked for after the end gets an answer too.
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (job := self._commands.get(block=False)) is not None:
                    job.feed.put(End(self._over()), last=True)

    def _over(self) -> WeftError:
        return EngineFailed(self._broken or "The model was closed meanwhile.")

    def _take_commands(self) -> bool:
        """Take what has come; without work it waits, without a deadline. Says whether to go on."""
        while True:
            try:
                command = self._commands.get(block=not (self._waiting or self._running))
            except queue.Empty:
                return True
            if command is None:
                return False
            if self._broken:
                command.feed.put(End(EngineFailed(self._broken)), last=True)
            else:
                self._waiting.append(command)

    def _recover(self, why: str) -> None:
        """Fail what runs, and begin anew with an empty cache, unless the device is lost or it has failed too often."""
        if told := self._failures.note(why):
            self._break(told)
        else:
            self._fail_all(EngineFailed(why))

    def _break(self, why: str) -> None:
        self._broken = f"transformers cannot go on: {why}"
        try:
            self._fail_all(EngineFailed(self._broken))
        finally:
            self._on_broken(self._broken)

    def _advance(self) -> None:
        self._drop_leavers()
        if self._waiting:
            self._read_on(self._waiting[0])
        if self._running:
            self._step()

    def _drop_leavers(self) -> None:
        for job in [job for job in self._waiting if job.cancelled.is_set()]:
            self._waiting.remove(job)
            job.feed.put(End(), last=True)
        leavers = [job for job in self._running if job.cancelled.is_set()]
        if leavers:
            self._keep([job for job in self._running if job not in leavers])
        # Only now: who hears of the end takes the slot for free.
        for job in leavers:
            job.feed.put(End(), last=True)

    def _read_on(self, job: Job) -> None:
        """Feed the next part of a prompt; where memory does not suffice, that is the end of this answer alone."""
        try:
            is_over = self._prefill(job)
        except torch.OutOfMemoryError as error:
            job.feed.put(End(_failure(error)), last=True)
            is_over = True
        if is_over:
            # Last: until it runs, or has ended, it is here for `_fail_all` to find.
            self._waiting.popleft()
            job.cache = None

    def _prefill(self, job: Job) -> bool:
        """Once a prompt is whole, its answer begins. Says whether the job waits no more."""
        if job.cache is None:
            job.cache = new_cache(self._forward.config, self._is_padded)
        part = job.prompt[job.prefilled : job.prefilled + _PREFILL_TOKENS]
        logits = prefill(self._forward, job.cache, part, job.prefilled)
        job.prefilled += len(part)
        if job.prefilled < len(job.prompt):
            return False
        if self._going([job], logits.unsqueeze(0)):
            self._rows.join(job.cache, len(job.prompt))
            self._running.append(job)
        return True

    def _step(self) -> None:
        logits = self._rows.step([job.next_token for job in self._running])
        going = self._going(self._running, logits)
        if len(going) < len(self._running):
            self._keep(going)

    def _keep(self, jobs: Sequence[Job]) -> None:
        self._rows.keep([row for row, job in enumerate(self._running) if job in jobs])
        self._running = list(jobs)

    def _going(self, jobs: Sequence[Job], logits: Any) -> list[Job]:
        """Choose the next token of each answer and tell it; gives those that go on."""
        raw = logits.float()
        shaped = raw.clone() if any(job.sampler.has_shape for job in jobs) else raw
        able = [row for row, job in enumerate(jobs) if self._is_shaped(job, shaped[row])]
        if not able:
            return []
        rows = shaped if len(able) == len(jobs) else shaped[able]
        tokens = choose(rows, [jobs[row].sampler.chooser for row in able])
        self._failures.clear()
        return [
            jobs[row]
            for row, token in zip(able, tokens, strict=True)
            if self._goes_on(jobs[row], token, raw[row])
        ]

    @staticmethod
    def _is_shaped(job: Job, logits: Any) -> bool:
        if not job.sampler.has_shape:
            return True
        try:
            job.sampler.shape(logits)
        except BaseException as error:  # noqa: BLE001 (its form's own fault, and a panic in native code is no Exception)
            job.feed.put(End(_failure(error)), last=True)
            return False
        return True

    def _goes_on(self, job: Job, token: int | None, raw: Any) -> bool:
        try:
            logprob = job.sampler.take(token, raw, self._describe)
            assert token is not None, "the sampler takes nothing else"
            reason = self._told(job, token, logprob)
            if reason is FinishReason.STOP and job.guidance is not None and job.must_keep_form:
                job.guidance.require_complete()
        except BaseException as error:  # noqa: BLE001 (as above; its text's own fault too)
            job.feed.put(End(_failure(error)), last=True)
            return False
        if reason is None:
            job.next_token = token
            return True
        for event in job.answer.end(reason, by_token=token in job.end_tokens):
            job.feed.put(event)
        job.feed.put(End(), last=True)
        return False

    @staticmethod
    def _told(job: Job, token: int, logprob: TokenLogprob | None) -> FinishReason | None:
        """Tell the text of a token; gives why the answer ends with it, if it does."""
        if token in job.end_tokens:
            return FinishReason.STOP
        for event in job.answer.read(token, logprob):
            job.feed.put(event)
        if job.answer.is_stopped or (job.guidance is not None and job.guidance.must_end):
            return FinishReason.STOP
        return FinishReason.LENGTH if job.answer.token_count >= job.limit else None

    def _fail_all(self, failure: WeftError) -> None:
        """End everything that is here; caches may be in any state, and are dropped."""
        jobs = [*self._running, *self._waiting]
        self._running, self._rows = [], self._no_rows()
        self._waiting.clear()
        for job in jobs:
            job.cache = None
            job.feed.put(End(failure), last=True)
        with contextlib.suppress(RuntimeError):  # a GPU that has failed refuses this too
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _failure(error: BaseException) -> WeftError:
    if isinstance(error, WeftError):
        return error
    _logger.error("engine_answer_failed", exc_info=error)
    return EngineFailed(_one_line(error))


def _one_line(error: BaseException) -> str:
    told = " ".join(str(error).split())
    return f"{type(error).__name__}: {told[:500]}" if told else type(error).__name__
