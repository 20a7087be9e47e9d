"""Looks after backends that live and do not answer: they are told to the fleet, which replaces them."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from weft_worker.agent.hung import HungLimits, Signs, computes, hung
from weft_worker.agent.replica import RunningReplica
from weft_worker.agent.roster import Roster
from weft_worker.backend.lease import LeaseState
from weft_worker.process_activity import Activity, activity

LOOK_SECONDS = 1.0
_WATCHED = (LeaseState.READY, LeaseState.UNLOADING)


@dataclass(slots=True)
class _Watch:
    """What was seen of one backend: how often it had said something, looks since, and its processor time then; and its
    processor time at each of the latest looks.
    """

    word_count: int = -1
    silent_looks: int = 0
    cpu_seconds: float = 0.0
    lately: deque[float] = field(default_factory=deque)


class Vigil:
    """Backends say how busy they are every second. State: `_watches` by replica id.

    Silence is counted in looks and not by the clock: an agent that was stopped itself hears afterwards what was said
    meanwhile, and takes nobody's silence for longer than it has listened. What loads is not judged: native code may
    hold the interpreter for as long as that takes, and a load has limits of its own.
    """

    def __init__(
        self,
        roster: Roster,
        limits: HungLimits,
        *,
        look_at: Callable[[int], Activity | None] = activity,
    ) -> None:
        self._roster = roster
        self._limits = limits
        self._look_at = look_at
        self._watches: dict[str, _Watch] = {}

    async def keep(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Judge every backend once more."""
        running = {r.id: r for r in self._roster.running}
        self._watches = {i: w for i, w in self._watches.items() if i in running}
        for replica in running.values():
            self._roster.note_problem(replica, self._problem(replica))

    def _problem(self, replica: RunningReplica) -> str:
        if replica.record.replica_state not in _WATCHED:
            self._watches.pop(replica.id, None)
            return ""
        seen = self._look_at(replica.record.pid)
        return hung(self._signs(replica, seen), self._limits) if seen is not None else ""

    def _signs(self, replica: RunningReplica, seen: Activity) -> Signs:
        watch = self._watches.setdefault(replica.id, _Watch())
        watch.lately.append(seen.cpu_seconds)
        if len(watch.lately) > self._limits.silent_seconds / LOOK_SECONDS + 1:
            watch.lately.popleft()
        if watch.word_count != replica.word_count:
            watch.word_count, watch.silent_looks, watch.cpu_seconds = replica.word_count, 0, seen.cpu_seconds
            return Signs(
                stopped=seen.stopped, stuck_seconds=replica.stuck_seconds, computing=_computes(watch)
            )
        watch.silent_looks += 1
        return Signs(
            silent_seconds=watch.silent_looks * LOOK_SECONDS,
            computed_seconds=seen.cpu_seconds - watch.cpu_seconds,
            stopped=seen.stopped,
        )


def _computes(watch: _Watch) -> bool:
    """Whether it has computed over the latest looks; after a single one that is not known, and it may."""
    looks = len(watch.lately) - 1
    return not looks or computes(watch.lately[-1] - watch.lately[0], looks * LOOK_SECONDS)
