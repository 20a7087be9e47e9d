"""Whether it is this router that is cut off: it reaches hardly any node of which it hears that all is well. Pure."""

from dataclasses import dataclass, field

# So many replicas, those that were checked last, tell how things stand.
_WINDOW = 32
_LEAST_NODES = 2


@dataclass(slots=True)
class SelfDoubt:
    """State: `_lately`, by replica: its node, and whether the check contradicted what its worker says; and
    `_unable_count`, checks in a row that could not even be begun.
    """

    miss_count: int
    _lately: dict[str, tuple[str, bool]] = field(default_factory=dict)
    _unable_count: int = 0

    def forget(self) -> None:
        """Begin anew."""
        self._lately.clear()
        self._unable_count = 0

    def unable(self) -> None:
        """Note a check that this router had not the means for."""
        self._unable_count += 1

    def note(self, replica_id: str, node_id: str, *, contradicted: bool) -> None:
        """Note the outcome of a check."""
        self._unable_count = 0
        self._lately.pop(replica_id, None)
        self._lately[replica_id] = node_id, contradicted
        if len(self._lately) > _WINDOW:
            del self._lately[next(iter(self._lately))]

    @property
    def justified(self) -> bool:
        """Whether so much looks wrong that it is more likely this router's own trouble.

        It is by nodes and not by replicas: one machine whose ports nobody reaches is that machine's trouble.
        """
        if self._unable_count >= self.miss_count:
            return True
        seen: dict[str, list[bool]] = {}
        for node_id, contradicted in self._lately.values():
            seen.setdefault(node_id, []).append(contradicted)
        odd = sum(2 * sum(outcomes) >= len(outcomes) for outcomes in seen.values())
        return odd >= _LEAST_NODES and 2 * odd >= len(seen)
