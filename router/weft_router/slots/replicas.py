"""The replicas of one model as this router hands out their slots: who is busy, and what was handed out to whom."""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from weft_common.choice import Choice, choose
from weft_common.load_view import LoadView
from weft_common.report_flow import Flows
from weft_router.fleet.entities import Node, Replica
from weft_router.slots.core.pace import ahead_count

# Where nothing was measured and no reports come, a request is taken to have ended after so long.
_UNKNOWN_SERVICE_SECONDS = 1.0
_LOOKS = 4


@dataclass(slots=True)
class Candidate:
    """A replica that may serve, with what choice looks at; `limit` is how many requests it may have."""

    replica: Replica
    node: Node
    load: LoadView
    in_flight_count: int
    limit: int

    @property
    def replica_id(self) -> str:
        return self.replica.id

    @property
    def last_used(self) -> float:
        return self.load.last_used

    @property
    def free_memory_bytes(self) -> int:
        return max((d.free_bytes for d in self.node.devices), default=0)


@dataclass(frozen=True, slots=True)
class Grant:
    """A slot that is somebody's: the pick's number, where, and what to fall back on."""

    number: int
    replica: Replica
    fallback: Replica | None


@dataclass(slots=True)
class Granting:
    """State: loads by replica, and whose the grants are that no report has covered."""

    router_id: str
    flows: Flows = field(default_factory=Flows)
    _loads: dict[str, LoadView] = field(default_factory=dict)
    _grants: dict[str, dict[int, str]] = field(default_factory=dict)
    _granted: Counter[str] = field(default_factory=Counter)

    def report(
        self, replica: Replica, busy_count: int, seen: tuple[int, Sequence[int]], now: float
    ) -> set[str]:
        """Take a replica's report; says of whose grants it has news."""
        load = self._load(replica)
        load.report(busy_count, *seen, now)
        return self._settle(replica.id, load)

    def uncovered_count(self, principal: str) -> int:
        """Slots handed out to a principal that no replica has told of yet."""
        return self._granted[principal]

    def candidates(
        self, places: Iterable[tuple[Replica, Node]], service_seconds: float | None, now: float
    ) -> list[Candidate]:
        """Replicas with how many requests they have, and may have; mute ones only if there are no others."""
        found = [self._candidate(replica, node, service_seconds, now) for replica, node in places]
        return [c for c in found if c.limit] or found

    def grant(
        self, candidates: Sequence[Candidate], principal: str, now: float, others: Sequence[Replica] = ()
    ) -> Grant | None:
        """Hand out the best free slot; None where there is none. A fallback may be one of the others as well."""
        choice: Choice[Candidate] | None = choose(candidates, self.router_id, slots=lambda c: c.limit)
        if choice is None or choice.primary.in_flight_count >= choice.primary.limit:
            return None
        chosen = choice.primary
        number = chosen.load.pick(now)
        chosen.in_flight_count += 1
        self._grants.setdefault(chosen.replica_id, {})[number] = principal
        self._granted[principal] += 1
        fallback = choice.fallback.replica if choice.fallback else self._one_of(others, chosen, now)
        return Grant(number, chosen.replica, fallback)

    def give_back(self, grant: Grant) -> None:
        """Free a slot whose pick will never be sent."""
        load = self._loads[grant.replica.id]
        load.take_back(grant.number)
        self._settle(grant.replica.id, load)

    def forget_others(self, known: Container[str]) -> set[str]:
        """Drop replicas that are gone; says which."""
        gone = {i for i in self._loads if i not in known}
        for replica_id in gone:
            self._granted.subtract(self._grants.pop(replica_id, {}).values())
            del self._loads[replica_id]
        self._granted = +self._granted
        return gone

    def _one_of(self, others: Sequence[Replica], chosen: Candidate, now: float) -> Replica | None:
        """Another one, by turns: the least busy of a few that speak, since looking at all would take too long."""
        start = chosen.load.latest_pick * _LOOKS
        looked_at = [others[(start + n) % len(others)] for n in range(min(_LOOKS, len(others)))]
        found = [r for r in looked_at if r.id != chosen.replica_id]
        speaking = [r for r in found if not self._load(r).is_mute(now)]
        return min(
            speaking or found,
            key=lambda r: self._load(r).in_flight_count(now) / max(1, r.slot_count),
            default=None,
        )

    def _settle(self, replica_id: str, load: LoadView) -> set[str]:
        grants = self._grants.get(replica_id, {})
        covered = [number for number in grants if number not in load.uncovered]
        principals = {grants[number] for number in covered}
        for number in covered:
            principal = grants.pop(number)
            self._granted[principal] -= 1
            if not self._granted[principal]:
                del self._granted[principal]
        return principals

    def _candidate(
        self, replica: Replica, node: Node, service_seconds: float | None, now: float
    ) -> Candidate:
        load = self._load(replica)
        limit = 0
        if not load.is_mute(now):
            limit = replica.slot_count + ahead_count(
                replica.slot_count, service_seconds, replica.max_queue_count
            )
        if load.is_blind(now) or load.is_unheard(now):
            # The bus is down: nobody hears of ends, so each grant is taken to last as long as requests do.
            load.forget_picks(now - (service_seconds or _UNKNOWN_SERVICE_SECONDS))
            self._settle(replica.id, load)
        return Candidate(
            replica=replica,
            node=node,
            load=load,
            in_flight_count=load.in_flight_count(now),
            limit=limit,
        )

    def _load(self, replica: Replica) -> LoadView:
        found = self._loads.get(replica.id)
        if found is None:
            found = self._loads[replica.id] = LoadView(self.flows.of(replica.node_id))
        return found
