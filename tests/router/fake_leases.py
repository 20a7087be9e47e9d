"""The leases of a fake store, by the fake store's clock."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from weft_router.fleet.lease import Fence, LeaseRow, next_epoch
from weft_router.store.protocol import StaleLeader


@dataclass
class FakeLeases:
    """State: `rows`, and `ends`, when each runs out. `reach` raises while the store is down."""

    reach: Callable[[], None]
    now: Callable[[], float]
    rows: dict[str, LeaseRow] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)

    async def hold(self, name: str, holder: str, *, ttl: timedelta, fence: Fence | None = None) -> LeaseRow:
        self.reach()
        known = self._read(name)
        epoch = next_epoch(known, holder)
        if epoch is not None:
            self.ends[name] = self.now() + ttl.total_seconds()
            self.rows[name] = LeaseRow(name, holder, epoch, 0.0, known.refused_count if known else 0)
        elif fence is not None:
            self._count(name)
        row = self._read(name)
        assert row is not None
        return row

    async def give_back(self, fence: Fence) -> None:
        self.reach()
        if self.rows[fence.lease].epoch == fence.epoch:
            self.ends[fence.lease] = min(self.ends[fence.lease], self.now())

    async def read(self) -> list[LeaseRow]:
        self.reach()
        return [row for name in sorted(self.rows) if (row := self._read(name))]

    def require(self, fence: Fence | None) -> None:
        """Refuse an effect of a former leader, and count that."""
        if fence is None:
            return
        row = self._read(fence.lease)
        if row is None or row.epoch != fence.epoch or not row.remaining_seconds:
            if row is not None:
                self._count(fence.lease)
            raise StaleLeader(fence)

    def _count(self, name: str) -> None:
        row = self.rows[name]
        self.rows[name] = replace(row, refused_count=row.refused_count + 1)

    def _read(self, name: str) -> LeaseRow | None:
        row = self.rows.get(name)
        return row and replace(row, remaining_seconds=max(self.ends[name] - self.now(), 0.0))
