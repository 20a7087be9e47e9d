"""How many steps may be under way at once, and whose turn is next: nobody waits for what others take long for."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from weft_router.fleet.scaling import Grow, Step

# Loads that may begin, and replicas that may be on their way out, at once, over all models.
_MAX_GROWS = 8
_MAX_SHRINKS = 8
# A load that takes longer no longer keeps others from beginning.
_FRESH_SECONDS = 10.0


@dataclass(slots=True)
class Turns:
    """State: `_under_way`, steps and when they began, and `_served`, when a model had its last one; both by model."""

    _under_way: dict[str, tuple[Step, float]] = field(default_factory=dict)
    _served: dict[str, float] = field(default_factory=dict)

    @property
    def busy(self) -> frozenset[str]:
        """Models whose step is under way."""
        return frozenset(self._under_way)

    def begin(self, step: Step, now: float) -> None:
        """Note that a step is under way."""
        self._under_way[step.model] = step, now
        self._served[step.model] = now

    def end(self, model: str) -> None:
        """Note that it no longer is."""
        self._under_way.pop(model, None)

    def ordered(self, models: Iterable[str]) -> list[str]:
        """Those whose last step was longest ago first; of all others nothing is remembered."""
        served = {model: self._served.get(model, float("-inf")) for model in models}
        self._served = {m: at for m, at in self._served.items() if m in served or m in self._under_way}
        return sorted(served, key=served.__getitem__)

    def may_begin(self, step: Step, found: Iterable[Step], now: float) -> bool:
        """Whether one more of its kind may begin, beside those `found` already."""
        grows = isinstance(step, Grow)
        fresh = (
            each
            for each, since in self._under_way.values()
            if not isinstance(each, Grow) or now - since < _FRESH_SECONDS
        )
        count = sum(isinstance(each, Grow) is grows for each in (*fresh, *found))
        return count < (_MAX_GROWS if grows else _MAX_SHRINKS)
