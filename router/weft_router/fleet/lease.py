"""Who leads in what among routers: terms that are numbered, and end by the database's clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fence:
    """What every effect of a leader carries: which term of which lease it acts in. One of an older term is refused."""

    lease: str
    epoch: int


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease as the database has it; who held it last is its `holder` until somebody else is.

    `remaining_seconds` are by the database's clock, 0 where nobody leads.
    """

    name: str
    holder: str
    epoch: int
    remaining_seconds: float
    refused_count: int = 0

    @property
    def fence(self) -> Fence:
        """What effects of this term carry."""
        return Fence(self.name, self.epoch)


def next_epoch(row: LeaseRow | None, holder: str) -> int | None:
    """The term that `holder` leads in if it asks now, its own or a new one; None while another one leads.

    A holder that let its lease run out begins a new term: it may have been asleep, and what it meant to do then is old.
    """
    if row is None:
        return 1
    if row.remaining_seconds > 0:
        return row.epoch if row.holder == holder else None
    return row.epoch + 1
