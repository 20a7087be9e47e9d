"""What was tried in vain, for which model and where, so that it is left alone until it is time or things differ."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from weft_router.fleet.breaker import Breaker, after_failure, circumstances_of, may_try, nodes_mark
from weft_router.fleet.entities import Model
from weft_router.fleet.potential import Potential, places_mark, potentials, protections_mark
from weft_router.fleet.views import Snapshot


@dataclass(frozen=True)
class Look:
    """The fleet at one moment, for all models; `silent` are the nodes that were not heard from lately.

    `need_bytes` tells how much memory a replica of a model needs, 0 where that is unknown.
    """

    snapshot: Snapshot
    now: float
    silent: frozenset[str]
    need_bytes: Callable[[Model, Snapshot], int]

    @cached_property
    def _nodes(self) -> int:
        return nodes_mark(self.snapshot)

    @cached_property
    def _potentials(self) -> Mapping[str, Potential]:
        return potentials(self.snapshot)

    @cached_property
    def _protections(self) -> int:
        return protections_mark(self.snapshot)

    def circumstances(self, model: str, node_id: str, *, placeless: bool) -> int:
        """What has to differ for another try to make sense."""
        known = circumstances_of(model, self.snapshot, self._nodes)
        wanted = self.snapshot.models.get(model)
        if not placeless or wanted is None:
            return known
        return hash((known, self._protections, self._places(wanted, node_id)))

    def _places(self, model: Model, node_id: str) -> int:
        known = self._potentials
        if node_id:
            known = {node_id: known[node_id]} if node_id in known else {}
        need_bytes = self.need_bytes(model, self.snapshot)
        return places_mark(model, need_bytes, self.snapshot, known, self.silent)


@dataclass(slots=True)
class Attempts:
    """State: breakers by model and node id; "" stands for a place of placement's choice."""

    _breakers: dict[str, dict[str, Breaker]] = field(default_factory=dict)

    def forget(self) -> None:
        """Begin anew."""
        self._breakers.clear()

    def keep(self, models: Iterable[str]) -> None:
        """Forget all other models."""
        kept = frozenset(models)
        self._breakers = {m: b for m, b in self._breakers.items() if m in kept}

    def shut(self, model: str, look: Look) -> frozenset[str]:
        """Where a model is not to be tried now."""
        return frozenset(
            node_id
            for node_id, breaker in self._breakers.get(model, {}).items()
            if not may_try(breaker, look.circumstances(model, node_id, placeless=breaker.placeless), look.now)
        )

    def failed(
        self, model: str, node_id: str, look: Look, *, cooldown_seconds: float, placeless: bool = False
    ) -> Breaker:
        """Note a failure."""
        breakers = self._breakers.setdefault(model, {})
        breaker = breakers[node_id] = after_failure(
            breakers.get(node_id),
            look.circumstances(model, node_id, placeless=placeless),
            look.now,
            cooldown_seconds=cooldown_seconds,
            placeless=placeless,
        )
        return breaker

    def succeeded(self, model: str, node_id: str) -> None:
        """Forget what failed before."""
        self._breakers.get(model, {}).pop(node_id, None)
