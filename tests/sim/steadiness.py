"""Whether replicas that come and go with the load do so with patience: what flaps is broken."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft_router.fleet.scaling import Grow, ScalingRules, Step

# Clocks of routers run apart, and one that begins to lead counts anew.
_TOLERANCE = 0.9


@dataclass(slots=True)
class Steadiness:
    """State: when a replica was last added for want of slots, and when one was taken away for want of requests."""

    rules: ScalingRules
    _added: dict[str, float] = field(default_factory=dict)
    _taken: dict[str, float] = field(default_factory=dict)

    def problems(self, step: Step, now: float) -> list[str]:
        """Note a step that was decided, and tell what is wrong with it; other steps have reasons of their own."""
        never = float("-inf")
        if isinstance(step, Grow):
            if step.reason != "every replica is busy":
                return []
            since = now - max(self._added.get(step.model, never), self._taken.get(step.model, never))
            self._added[step.model] = now
            return self._too_soon(step.model, "added", since, self.rules.busy_seconds)
        model = step.replica.model
        if not step.reason.startswith(("idle for", "at most")):
            return []
        since, self._taken[model] = now - self._added.get(model, never), now
        return self._too_soon(model, "taken away", since, self.rules.idle_seconds)

    def _too_soon(self, model: str, what: str, since: float, limit: float) -> list[str]:
        if since >= _TOLERANCE * limit:
            return []
        return [
            f"a replica of {model} is {what} only {since:.1f} s after the load had one added or taken away"
        ]
