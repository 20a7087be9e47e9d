"""The way of every inference call: ticket, pick, slot, engine; the dialects differ in words only."""

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass

from weft_common import logs, ticket
from weft_common.clock import Clock
from weft_common.errors import EngineFailed, WeftError
from weft_common.rpc import CallContext
from weft_worker.backend import deadline, picks
from weft_worker.backend.admission import Admission
from weft_worker.backend.deadline import Deadline, deadline_after, seconds_left
from weft_worker.backend.picks import PicksSeen, parse_pick
from weft_worker.backend.replica import Replica
from weft_worker.backend.visit import Visit, logged_visit
from weft_worker.engines.base import Delta, Finished, Generation

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of an answer of which something was sent already."""

    error: WeftError


class Inference:
    """What a call meets on its way; state: `generated_token_count`, over all calls."""

    def __init__(self, replica: Replica, admission: Admission, picks_seen: PicksSeen, clock: Clock) -> None:
        self.replica = replica
        self.admission = admission
        self.picks_seen = picks_seen
        self.clock = clock
        self.generated_token_count = 0

    @contextmanager
    def visit(self, call: CallContext, rpc: str) -> Iterator[Visit]:
        """Let a call in that has a ticket for this replica, and note its pick; logs how it went.

        Raises InvalidTicket before anything of the call is looked at, ReplicaClosing, ModelLoading and LoadFailed.
        """
        with logged_visit(rpc, self.replica.document.model.name, self.clock) as visit:
            self._enter(call, visit)
            try:
                yield visit
            finally:
                self.generated_token_count += visit.token_count

    async def generate(
        self, call: CallContext, visit: Visit, generation: Generation
    ) -> AsyncGenerator[Delta | Finished | Failed, None]:
        """Wait for a slot and run the engine: any number of Delta, then one Finished or Failed.

        A failure before the first event is raised, so that another replica can still serve the call.
        """
        failure: WeftError | None = None
        try:
            with deadline_after(self._seconds_left(call)) as limit:
                async with aclosing(self._run(visit, generation, limit)) as events:
                    async for event in events:
                        visit.saw(event, self.clock.monotonic())
                        yield event
        except WeftError as error:
            if visit.first_token is None:
                raise
            failure = error
        if failure is not None:
            visit.outcome = failure.reason
            yield Failed(failure)

    def announce(self, call: CallContext) -> None:
        """Say with the first message who answers; nothing is sent before it, since that would end failover."""
        call.set_initial_metadata(self._identity())

    async def _run(
        self, visit: Visit, generation: Generation, limit: Deadline
    ) -> AsyncGenerator[Delta | Finished, None]:
        async with AsyncExitStack() as stack:
            await limit.within(stack.enter_async_context, self.admission.slot())
            visit.admitted = self.clock.monotonic()
            events = await stack.enter_async_context(aclosing(self.replica.engine().generate(generation)))
            while (event := await limit.within(_next, events)) is not None:
                yield event

    def _enter(self, call: CallContext, visit: Visit) -> None:
        visit.ticket = self._verify(call)
        logs.request_id.set(visit.ticket.request_id)
        # Picks are numbered for the primary; the fallback would take them for numbers of its own.
        is_primary = visit.ticket.replicas[0] == self.replica.ticket_name
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

    def _identity(self) -> Iterator[tuple[str, str]]:
        document = self.replica.document
        yield "x-weft-replica", self.replica.public_name
        if document.expose_node:
            # Metadata is ASCII, and a person's name for a machine may not be.
            yield "x-weft-node", document.node_name.encode("ascii", "replace").decode()


async def _next(events: AsyncGenerator[Delta | Finished, None]) -> Delta | Finished | None:
    try:
        return await anext(events, None)
    except WeftError:
        raise
    except Exception as error:  # an engine is native code of others and may raise anything
        _logger.exception("engine_failed")
        raise EngineFailed(f"The engine failed: {type(error).__name__}: {error}") from error
