"""Which events somebody wants to see."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter; what is empty takes all. `since` is in seconds of the wall clock."""

    kinds: frozenset[int] = frozenset()
    model: str = ""
    node: str = ""
    since: float = float("-inf")

    def takes(self, kind: int, model: str, node: str, details: Mapping[str, str], seconds: float) -> bool:
        """Whether an event is wanted; what makes room for a model is about that one as well."""
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.model or self.model in (model, details.get("for_model")))
            and (not self.node or self.node == node)
            and seconds >= self.since
        )
