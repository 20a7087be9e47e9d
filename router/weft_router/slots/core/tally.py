"""What replicas say they did for each principal, as steps forward: their counts rise for ever and may skip reports."""

from collections.abc import Iterable
from dataclasses import dataclass, field

_PROMPT_SHARE = 8
_MAX_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Told:
    """One principal's line in a report; tokens and `slot_seconds` since the replica's process began."""

    principal: str
    generated: int = 0
    prompt: int = 0
    finished: int = 0
    slot_seconds: float = 0.0
    in_flight: int = 0
    running: int = 0

    @property
    def work(self) -> float:
        """Work of requests that have ended, in generated tokens; reading a token costs an eighth of making one."""
        return self.generated - self.running + self.prompt / _PROMPT_SHARE


@dataclass(frozen=True, slots=True)
class Progress:
    """What ended for a principal between two reports of one replica."""

    principal: str
    work: float = 0.0
    finished: int = 0
    slot_seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """The latest lines of each replica of one model; state: all of it."""

    _told: dict[str, dict[str, Told]] = field(default_factory=dict)
    _in_flight: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, replica_id: str, lines: Iterable[Told]) -> list[Progress]:
        """Take a replica's report; says how far each principal got, also those whose requests are no longer there.

        What a replica did before it was first heard of counts for nothing: nobody knows when that was.
        """
        before = self._told.get(replica_id)
        known = self._told.setdefault(replica_id, {})
        lines = tuple(lines)
        left = {p for p, line in known.items() if line.in_flight} - {line.principal for line in lines}
        progress = [self._step(known, line, is_first=before is None) for line in lines]
        for principal in left:
            self._count(principal, known[principal], None)
            known[principal] = _left(known[principal])
            progress.append(Progress(principal))
        while len(known) > _MAX_KEPT:
            self._count(oldest := next(iter(known)), known[oldest], None)
            del known[oldest]
        return progress

    def in_flight(self, principal: str) -> tuple[int, int]:
        """Requests of a principal that are at replicas, and the tokens that these have so far."""
        return self._in_flight.get(principal, (0, 0))

    def forget(self, replica_id: str) -> list[str]:
        """Drop a replica that is gone; says whose requests went with it."""
        lines = self._told.pop(replica_id, {})
        for principal, line in lines.items():
            self._count(principal, line, None)
        return [principal for principal, line in lines.items() if line.in_flight]

    def _step(self, known: dict[str, Told], line: Told, *, is_first: bool) -> Progress:
        before = known.pop(line.principal, None)
        known[line.principal] = line
        self._count(line.principal, before, line)
        if is_first:
            return Progress(line.principal)
        if before is None or line.finished < before.finished:  # new, or forgotten by the replica meanwhile
            before = Told(line.principal)
        return Progress(
            principal=line.principal,
            work=max(0.0, line.work - before.work),
            finished=line.finished - before.finished,
            slot_seconds=max(0.0, line.slot_seconds - before.slot_seconds),
        )

    def _count(self, principal: str, before: Told | None, line: Told | None) -> None:
        count, running = self._in_flight.pop(principal, (0, 0))
        for told, sign in ((before, -1), (line, 1)):
            if told is not None:
                count, running = count + sign * told.in_flight, running + sign * told.running
        if count > 0 or running > 0:
            self._in_flight[principal] = (count, running)


def _left(line: Told) -> Told:
    """A line whose requests are gone without a word on how they ended."""
    return Told(line.principal, line.generated - line.running, line.prompt, line.finished, line.slot_seconds)
