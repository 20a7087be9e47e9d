"""What this router leads in: leases that it renews while it can, and gives back when it stops.

Losing one needs no message: a term ends by itself, here no later than in the database, and what was under way then is
refused where it is written.
"""

import asyncio
import logging
from datetime import timedelta

from weft_common.clock import Clock
from weft_common.errors import PartUnavailable
from weft_common.events import Journal
from weft_proto.weft.types.v1 import EventKind
from weft_router.fleet.lease import Fence, LeaseRow
from weft_router.store.protocol import LeaseStore

# Renewals for each time to live, so that a few may fail.
_RENEWALS = 4
# Past the moment at which another router's term ends by the database's clock.
_GRACE_SECONDS = 0.02
_GIVE_BACK_SECONDS = 0.5
# Whoever stepped down does not lead again so soon, even where nobody else does.
_ABSTAIN_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Lease:
    """One router's part in one lease.

    State: `_fence`, `_until`, when its term ends by this router's clock, and `_abstaining`,
    until when it does not ask for one.
    """

    def __init__(
        self,
        store: LeaseStore,
        name: str,
        *,
        holder: str,
        clock: Clock,
        ttl: timedelta,
        journal: Journal | None = None,
    ) -> None:
        self._store = store
        self._journal = journal or Journal(holder, clock)
        self._name = name
        self._holder = holder
        self._clock = clock
        self._ttl = ttl
        self._fence: Fence | None = None
        self._until = float("-inf")
        self._abstaining = float("-inf")

    @property
    def fence(self) -> Fence | None:
        """What effects carry that begin now; None while this router does not lead for sure."""
        return self._fence if self._clock.monotonic() < self._until else None

    def note_refused(self, fence: Fence | None, effect: str) -> None:
        """Tell that an effect of an earlier term was refused: the end of a step, and no failure."""
        assert fence is not None, "only what carries a fence is refused"
        _log.warning("effect_refused", extra={"lease": fence.lease, "epoch": fence.epoch, "effect": effect})
        why = f"another router leads in {fence.lease} by now: {effect} is its to decide"
        self._journal.tell(EventKind.LEADER, "effect_refused", why, lease=fence.lease, epoch=fence.epoch)

    async def keep(self) -> None:
        """Lead whenever nobody else does; for ever, and when that ends the lease is given back."""
        try:
            while True:
                pause = await self.renew()
                await asyncio.sleep(pause)
        finally:
            await self._give_back()

    async def renew(self) -> float:
        """Ask for the lease; returns after how many seconds to ask again."""
        pause = self._ttl.total_seconds() / _RENEWALS
        if self._clock.monotonic() < self._abstaining:
            return pause
        # Of the moment before: the database's clock cannot have begun to count any earlier.
        until = self._clock.monotonic() + self._ttl.total_seconds()
        try:
            row = await self._store.hold(self._name, self._holder, ttl=self._ttl, fence=self._fence)
        except PartUnavailable as error:
            _log.debug("lease_not_renewed", extra={"lease": self._name, "error": str(error)})
            return pause
        if row.holder == self._holder:
            self._lead(row, until)
            return pause
        self._follow(row)
        return min(pause, row.remaining_seconds + _GRACE_SECONDS)

    async def step_down(self, why: str, *, seconds: float = _ABSTAIN_SECONDS) -> None:
        """Leave the lease to another router, and do not ask for it for so long."""
        fence = self.fence
        if fence is None:
            return
        _log.warning("leader_stepped_down", extra={"lease": fence.lease, "epoch": fence.epoch, "why": why})
        self._journal.tell(EventKind.LEADER, "leader_stepped_down", why, lease=fence.lease, epoch=fence.epoch)
        self._abstaining = self._clock.monotonic() + seconds
        await self._give_back()

    def _lead(self, row: LeaseRow, until: float) -> None:
        if row.fence != self._fence:
            _log.info("leader_elected", extra={"lease": row.name, "holder": row.holder, "epoch": row.epoch})
            why = f"{row.holder} leads in {row.name}: nobody did"
            self._journal.tell(EventKind.LEADER, "leader_elected", why, lease=row.name, epoch=row.epoch)
        self._fence, self._until = row.fence, until

    def _follow(self, row: LeaseRow) -> None:
        if self._fence is not None:
            _log.warning("leader_replaced", extra={"lease": row.name, "by": row.holder, "epoch": row.epoch})
        self._fence, self._until = None, float("-inf")

    async def _give_back(self) -> None:
        fence, self._fence = self._fence, None
        if fence is None:
            return
        try:
            async with asyncio.timeout(_GIVE_BACK_SECONDS):
                await self._store.give_back(fence)
        except (PartUnavailable, TimeoutError):
            _log.debug("lease_not_given_back", extra={"lease": self._name})


class Leases:
    """Makes one lease for each loop that only one router may run, and keeps all of them.

    State: `_leases`, by name, and `_kept`, whether they are renewed already.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        holder: str,
        clock: Clock,
        ttl: timedelta,
        journal: Journal | None = None,
    ) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._ttl = ttl
        self._journal = journal
        self._leases: dict[str, Lease] = {}
        self._kept = False

    def of(self, name: str) -> Lease:
        """The lease of that name; all have to be made before they are kept."""
        if name not in self._leases:
            assert not self._kept, f"nobody would renew {name}"
            self._leases[name] = Lease(
                self._store,
                name,
                holder=self._holder,
                clock=self._clock,
                ttl=self._ttl,
                journal=self._journal,
            )
        return self._leases[name]

    async def keep(self) -> None:
        """Renew all of them for ever, none of them waiting for another."""
        self._kept = True
        async with asyncio.TaskGroup() as tasks:
            for lease in self._leases.values():
                tasks.create_task(lease.keep())
