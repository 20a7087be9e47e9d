"""Which picks of which gateway have reached this replica: what lets a gateway know that a report covers them."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

METADATA_KEY = "x-weft-pick"
MAX_BEYOND = 64
MAX_GATEWAYS = 64
_MAX_ID_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Pick:
    """One decision of one gateway process; its sequence rises from 1."""

    gateway_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Every pick up to `contiguous` was seen or is too old to wait for; those in `beyond` were seen too."""

    contiguous: int = 0
    beyond: tuple[int, ...] = ()

    def add(self, sequence: int) -> "Seen":
        """Note one more pick."""
        if sequence <= self.contiguous or sequence in self.beyond:
            return self
        contiguous, beyond = self.contiguous, sorted((*self.beyond, sequence))
        if len(beyond) > MAX_BEYOND:
            contiguous = beyond[0]
        while beyond and beyond[0] <= contiguous + 1:
            contiguous = max(contiguous, beyond.pop(0))
        return Seen(contiguous, tuple(beyond))


class PicksSeen:
    """The picks of the gateways heard from lately; state: `_by_gateway`, the latest heard last.

    `on_change` hears of each: what is refused before it has a slot changes nothing else that a report tells, and a
    gateway takes it for a request that is still on its way.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._by_gateway: OrderedDict[str, Seen] = OrderedDict()

    def note(self, pick: Pick) -> None:
        """Remember a pick; the gateway not heard from for longest is forgotten when there are too many."""
        seen = self._by_gateway.pop(pick.gateway_id, Seen())
        self._by_gateway[pick.gateway_id] = seen.add(pick.sequence)
        if len(self._by_gateway) > MAX_GATEWAYS:
            self._by_gateway.popitem(last=False)
        self._on_change()

    def snapshot(self) -> tuple[tuple[str, Seen], ...]:
        """Tell what was seen of each gateway."""
        return tuple(self._by_gateway.items())


def parse_pick(text: str | None) -> Pick | None:
    """Read `GATEWAY_ID/SEQUENCE`; None where it is missing or unusable, which costs accuracy and nothing else."""
    gateway_id, _, sequence = (text or "").rpartition("/")
    if not 0 < len(gateway_id) <= _MAX_ID_LENGTH or not sequence.isascii() or not sequence.isdecimal():
        return None
    return Pick(gateway_id, int(sequence)) if len(sequence) < 20 else None
