"""The way of every inference call: ticket, pick, slot, engine; the dialects differ in words only."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from datetime import timedelta
from itertools import zip_longest
from typing import Any, TypeVar, cast

from weft_common import logs, ticket
from weft_common.clock import Clock
from weft_common.errors import EngineFailed, InternalError, ReplicaClosing, WeftError
from weft_common.purposes import Ability, require_ability
from weft_common.rpc import CallContext
from weft_worker.backend import deadline, picks
from weft_worker.backend.admission import Admission
from weft_worker.backend.busy_watchdog import BusyWatchdog
from weft_worker.backend.deadline import Deadline, deadline_after, seconds_left
from weft_worker.backend.heartbeat import heartbeat
from weft_worker.backend.picks import PicksSeen, parse_pick
from weft_worker.backend.progress import EngineProgress
from weft_worker.backend.replica import Replica
from weft_worker.backend.run import Failed, Quiet, Run
from weft_worker.backend.visit import Visit, logged_visit
from weft_worker.backend.work import Work, generating, require_fit
from weft_worker.backend.works import Works
from weft_worker.backend.write_watch import write_watch
from weft_worker.engines.base import Asked, Event, Finished

_RETRY_AFTER = timedelta(seconds=1)
# Envoy's word: 1, 2 for the fallback, 3 for the primary again. It is not signed: all that it gives is a place to wait.
_ATTEMPT_KEY = "x-envoy-attempt-count"
T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Inference:
    """What a call meets on its way; state: `generated_token_count` over all calls, and the calls that are here.

    The engine's work for each is a task of `tasks`, which its call awaits.
    """

    def __init__(
        self,
        replica: Replica,
        admission: Admission,
        picks_seen: PicksSeen,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        watchdog: BusyWatchdog | None = None,
        progress: EngineProgress | None = None,
    ) -> None:
        self.replica = replica
        self._watchdog = watchdog or BusyWatchdog(None, clock, lambda: None)
        self.admission = admission
        self.picks_seen = picks_seen
        self.clock = clock
        self.generated_token_count = 0
        self.works = Works(clock)
        self._progress = progress or EngineProgress(clock)
        self._tasks = tasks
        self._work_of: dict[asyncio.Task[None], Run[Any]] = {}
        self._visit_count = 0
        self._visited_count = 0
        self._left = asyncio.Event()
        self._left.set()

    @contextmanager
    def visit(self, call: CallContext, rpc: str, ability: Ability = Ability.CHAT) -> Iterator[Visit]:
        """Let a call in that has a ticket for this replica, and note its pick; logs how it went.

        Raises InvalidTicket before anything of the call is looked at, ReplicaClosing, ModelLoading, LoadFailed, and
        InvalidRequest where the model is for something else.
        """
        with logged_visit(rpc, self.replica.document.model.name, self.clock) as visit:
            self._visited_count += 1
            self._enter(call, visit)
            require_ability(visit.model, self.replica.document.model.purpose, ability)
            self._visit_count += 1
            self._left.clear()
            try:
                yield visit
            finally:
                self.generated_token_count += visit.token_count
                self._visit_count -= 1
                if not self._visit_count:
                    self._left.set()

    def wish_keep_alive(self, seconds: float | None) -> None:
        """Note for how long the latest request that says so wishes the replica to stay; below 0 is for ever."""
        if seconds is not None:
            self.replica.keep_alive_seconds = seconds

    async def generate(
        self, call: CallContext, visit: Visit, asked: Asked
    ) -> AsyncGenerator[Event | Failed, None]:
        """Wait for a slot and run the engine: any number of Delta, then one Finished or Failed.

        A failure before the first event is raised, so that another replica can still serve the call. A client
        that takes nothing for `stall_seconds` has its call cut.
        """
        async with aclosing(self.answers(call, visit, [asked])) as events:
            async for _, event, _ in events:
                yield event

    def answers(
        self, call: CallContext, visit: Visit, asked: Sequence[Asked]
    ) -> AsyncGenerator[tuple[int, Event | Failed, bool], None]:
        """The same for several answers at once, each in a slot of its own, and told by its index.

        With each event goes whether the end of an answer is there already and comes next, so that the last text and
        the end may be written at once.
        """
        told = self._told(call, visit, asked, beat_seconds=None)
        # Nothing is Quiet without beats; a generator of its own that says so would cost each token a turn.
        return cast("AsyncGenerator[tuple[int, Event | Failed, bool], None]", told)

    def streamed(
        self, call: CallContext, visit: Visit, asked: Sequence[Asked]
    ) -> AsyncGenerator[tuple[int, Event | Failed | Quiet, bool], None]:
        """The same for a stream over HTTP/1, whose client and proxies hear nothing of what happens below.

        Quiet comes (with no index of use) where nothing was told for `heartbeat_seconds`, also before the first token.
        What is sent for it ends failover: a failure after it is told as Failed, and no other replica is asked.
        """
        return self._told(call, visit, asked, beat_seconds=self.replica.document.heartbeat_seconds)

    async def _told(
        self,
        call: CallContext,
        visit: Visit,
        asked: Sequence[Asked],
        *,
        beat_seconds: float | None,
    ) -> AsyncGenerator[tuple[int, Event | Failed | Quiet, bool], None]:
        await require_fit(self.replica.engine(), asked)
        news, begun = asyncio.Event(), False
        async with AsyncExitStack() as stack:
            open_runs = dict[int, Run[Event]]()
            parts = self._parts(stack, visit, asked)
            slot_count = self.replica.document.model.slot_count
            beats = stack.enter_context(heartbeat(beat_seconds, news))
            watch = stack.enter_context(write_watch(self.replica.document.stall_seconds, call))
            while parts or open_runs:
                news.clear()
                # More at once would only wait, and fill the queue: some ask for a hundred answers.
                while parts and len(open_runs) < slot_count:
                    index, part, work = parts.popleft()
                    running = self._running(call, part, work, news)
                    open_runs[index] = await stack.enter_async_context(running)
                batch = list[tuple[int, Event | Failed | Quiet]](_taken(open_runs))
                if beats.is_due:
                    batch.append((0, Quiet()))
                for (index, event), after in zip_longest(batch, batch[1:]):
                    if isinstance(event, Quiet) and not beats.is_due:
                        break  # what came before it broke the silence
                    if isinstance(event, Failed):
                        if not begun:
                            raise event.error
                        visit.outcome = event.error.reason
                    watch.begin()
                    yield index, event, after is not None and isinstance(after[1], Finished)
                    watch.end()
                    if not visit.is_kept_back:
                        begun = True
                        beats.told()
                if open_runs and not (parts and len(open_runs) < slot_count):
                    await news.wait()  # no deadline, since the work that puts has one

    def _parts(
        self, stack: AsyncExitStack, visit: Visit, asked: Sequence[Asked]
    ) -> deque[tuple[int, Visit, Work[Event]]]:
        """What an engine is to do, and by what each is counted; the call's visit sums them up."""
        works = [generating(self.replica.document.model, self.replica.engine(), each) for each in asked]
        if len(works) == 1:
            return deque([(0, visit, works[0])])
        parts = [visit.begin_part(number) for number in range(len(works))]
        stack.callback(visit.sum_up, parts)
        return deque((index, part, work) for index, (part, work) in enumerate(zip(parts, works, strict=True)))

    async def whole(self, call: CallContext, visit: Visit, work: Work[T]) -> list[T]:
        """Wait for a slot, run the engine and give all that it gave; raises what it failed of."""
        news, given = asyncio.Event(), list[T]()
        async with self._running(call, visit, work, news) as run:
            while not run.is_over:
                news.clear()
                while (event := run.take()) is not None:
                    if isinstance(event, Failed):
                        raise event.error
                    given.append(event)
                if not run.is_over:
                    await news.wait()  # no deadline, since the work that puts has one
        return given

    async def quiet(self, seconds: float) -> None:
        """Wait until no call was here for that long, to be served or refused; the caller sets the deadline."""
        while True:
            await self._left.wait()
            seen = self._visited_count
            await asyncio.sleep(seconds)
            if self._visited_count == seen:
                return

    async def all_left(self) -> None:
        """Wait until every call that was let in has its answer; the caller sets the deadline."""
        await self._left.wait()

    def fail_running(self) -> None:
        """End what still generates: a stream with an event that says so, other calls so that they are retried."""
        for work, run in self._work_of.items():
            run.end(_closing())
            work.cancel()

    def abandon_work(self) -> None:
        """Wait no longer for engines that do not let go; their threads end with the process."""
        for work in self._work_of:
            work.cancel()

    @asynccontextmanager
    async def _running(
        self, call: CallContext, visit: Visit, work: Work[T], news: asyncio.Event
    ) -> AsyncIterator[Run[T]]:
        """Run the engine beside the body, so that a slow client holds no slot; leaving waits until it let go."""
        run = Run[T](news)
        limit_seconds = self._seconds_left(call)
        task = self._tasks.create_task(self._work(run, visit, work, limit_seconds))
        self._work_of[task] = run
        task.add_done_callback(self._work_of.pop)
        try:
            yield run
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])  # no deadline: the engine has its own

    async def _work(self, run: Run[T], visit: Visit, work: Work[T], limit_seconds: float | None) -> None:
        try:
            with deadline_after(limit_seconds) as limit:
                await self._do(run, visit, work, limit)
        except WeftError as error:
            run.end(error)
        except Exception:  # the outermost edge of a task; the caller is told, and the process goes on
            _logger.exception("generation_failed")
            run.end(InternalError("The replica failed in a way that nobody foresaw; its log says more."))
        else:
            run.end()
        finally:
            run.end(_closing())  # cancelled, and nobody said why

    async def _do(self, run: Run[T], visit: Visit, work: Work[T], limit: Deadline) -> None:
        async with AsyncExitStack() as stack:
            stack.enter_context(self.works.counted(visit))
            slot = self.admission.slot(is_fallback=visit.is_fallback)
            await limit.within(stack.enter_async_context, slot)
            visit.admitted = self.clock.monotonic()
            stack.enter_context(self._watchdog.watch(run))
            moved = stack.enter_context(self._progress.work())
            events = await stack.enter_async_context(aclosing(work.start(self.replica.engine())))
            while (event := await limit.within(_next, events)) is not None:
                moved()
                work.saw(visit, event, self.clock.monotonic())
                run.put(event)

    def _enter(self, call: CallContext, visit: Visit) -> None:
        visit.ticket = self._verify(call)
        logs.request_id.set(visit.ticket.request_id)
        is_primary = visit.ticket.replicas[0] == self.replica.ticket_name
        visit.is_fallback = not is_primary or call.metadata.get(_ATTEMPT_KEY, "1") != "1"
        # Picks are numbered for the primary; the fallback would take them for numbers of its own.
        if is_primary and (pick := parse_pick(call.metadata.get(picks.METADATA_KEY))):
            self.picks_seen.note(pick)
        self.admission.check_open()
        self.replica.engine()

    def _verify(self, call: CallContext) -> ticket.Ticket:
        return ticket.verify(
            call.metadata.get(ticket.METADATA_KEY),
            mesh_secret=self.replica.document.mesh_secret,
            replica=self.replica.ticket_name,
            now=self.clock.wall(),
        )

    def _seconds_left(self, call: CallContext) -> float | None:
        return seconds_left(call.metadata.get(deadline.METADATA_KEY), self.clock.wall())


def _taken(open_runs: dict[int, Run[Event]]) -> Iterator[tuple[int, Event | Failed]]:
    """What runs have to give just now; those that are over are dropped."""
    for index, run in list(open_runs.items()):
        while (event := run.take()) is not None:
            yield index, event
        if run.is_over:
            del open_runs[index]


def _closing() -> WeftError:
    return ReplicaClosing("The replica stopped before the answer was complete.", retry_after=_RETRY_AFTER)


async def _next(events: AsyncGenerator[T, None]) -> T | None:
    try:
        return await anext(events, None)
    except (WeftError, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # an engine is native code of others: Rust's panics are no Exception
        _logger.exception("engine_failed")
        raise EngineFailed(f"The engine failed: {type(error).__name__}: {error}") from error
