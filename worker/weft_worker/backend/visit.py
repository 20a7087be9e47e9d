"""One inference call from its arrival to the line in the log that tells how it went."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from weft_common import logs
from weft_common.clock import Clock
from weft_common.errors import WeftError
from weft_common.ticket import Ticket
from weft_worker.engines.base import Event, Finished, Usage

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Visit:
    """What is known of a call so far; state of the call and of the engine's work for it. Times in monotonic seconds."""

    rpc: str
    model: str
    arrived: float
    ticket: Ticket | None = None
    # Whether another replica was asked before, or this one, which was full then.
    is_fallback: bool = False
    admitted: float | None = None
    first_token: float | None = None
    token_count: int = 0
    finished: Finished | None = None
    usage: Usage | None = None
    outcome: str = "ok"
    # Whether the event that was handed out last tells the client nothing yet: its stream is as silent as before.
    is_kept_back: bool = False
    # Where several prompts are answered in one call; None: all answers are to one.
    answers_per_prompt: int | None = None

    def saw(self, event: Event, now: float) -> None:
        """Count what an engine gave."""
        if self.first_token is None:
            self.first_token = now
        if isinstance(event, Finished):
            self.finished, self.usage = event, event.usage
            self.token_count = event.usage.completion_token_count
        else:
            self.token_count += event.token_count

    def read(self, token_count: int, now: float) -> None:
        """Count what an engine has read of an input that is answered by something else than text."""
        if self.first_token is None:
            self.first_token = now
        so_far = self.usage.prompt_token_count if self.usage else 0
        self.usage = Usage(so_far + token_count, 0)

    def begin_part(self, number: int) -> "Visit":
        """One of several answers to the call, which is counted by itself.

        The others come where the first one was let in, so that they have the room of those who were sent on.
        """
        return replace(self, is_fallback=self.is_fallback or number > 0)

    def sum_up(self, parts: Sequence["Visit"]) -> None:
        """Count as the call what its answers took: each prompt once, and what was generated for each."""
        self.token_count = sum(part.token_count for part in parts)
        self.admitted = min((p.admitted for p in parts if p.admitted is not None), default=None)
        self.first_token = min((p.first_token for p in parts if p.first_token is not None), default=None)
        ends = [part.finished for part in parts if part.finished is not None]
        if len(ends) == len(parts):
            self.usage = summed_usage([end.usage for end in ends], self.answers_per_prompt)
            self.finished = Finished(ends[0].reason, self.usage)

    def log_fields(self, now: float) -> dict[str, object]:
        """Describe the call for the log: counts and times, never content."""
        usage = self.usage
        return {
            "rpc": self.rpc,
            "model": self.model,
            "principal": self.ticket.principal if self.ticket else "",
            "outcome": self.outcome,
            "finish_reason": str(self.finished.reason) if self.finished else "",
            "prompt_token_count": usage.prompt_token_count if usage else None,
            "completion_token_count": self.token_count,
            "cached_token_count": usage.cached_token_count if usage else None,
            "queued_ms": self._since_arrival(self.admitted),
            "first_token_ms": self._since_arrival(self.first_token),
            "total_ms": self._since_arrival(now),
        }

    def _since_arrival(self, moment: float | None) -> float | None:
        return None if moment is None else round((moment - self.arrived) * 1000, 2)


def summed_usage(usages: Sequence[Usage], answers_per_prompt: int | None = None) -> Usage:
    """What several answers used; those to one prompt come one after the other, and it counts once."""
    firsts = usages[:: answers_per_prompt or len(usages)]
    return Usage(
        sum(usage.prompt_token_count for usage in firsts),
        sum(usage.completion_token_count for usage in usages),
        sum(usage.cached_token_count for usage in firsts),
        sum(usage.reasoning_token_count for usage in usages),
    )


@contextmanager
def logged_visit(rpc: str, model: str, clock: Clock) -> Iterator[Visit]:
    """Begin a visit; one line is logged when the block ends, whichever way."""
    visit = Visit(rpc, model, clock.monotonic())
    try:
        yield visit
    except WeftError as error:
        visit.outcome = error.reason
        raise
    except (asyncio.CancelledError, GeneratorExit):
        visit.outcome = "CANCELLED"
        raise
    except Exception:
        visit.outcome = "INTERNAL"
        raise
    finally:
        logs.decision(_logger, "request_ended", visit.log_fields(clock.monotonic()))
