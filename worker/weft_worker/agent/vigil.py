"""Looks after backends that live and do not answer: they are told to the fleet, which replaces them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from weft_worker.agent.hung import HungLimits, Signs, hung
from weft_worker.agent.replica import RunningReplica
from weft_worker.agent.roster import Roster
from weft_worker.backend.lease import LeaseState
from weft_worker.process_activity import Activity, activity

LOOK_SECONDS = 1.0
_WATCHED = (LeaseState.READY, LeaseState.UNLOADING)


@dataclass(slots=True)
class _Watch:
    """What was seen of one backend: how often it had said something, looks since, its processor time at the last."""

    word_count: int
    silent_looks: int = 0
    cpu_seconds: float = 0.0


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
        watch = self._watches.get(replica.id)
        if watch is None or watch.word_count != replica.word_count:
            watch = self._watches[replica.id] = _Watch(replica.word_count, 0, seen.cpu_seconds)
            return Signs(stopped=seen.stopped, stuck_seconds=replica.stuck_seconds)
        watch.silent_looks += 1
        return Signs(
            silent_seconds=watch.silent_looks * LOOK_SECONDS,
            computed_seconds=seen.cpu_seconds - watch.cpu_seconds,
            stopped=seen.stopped,
        )
