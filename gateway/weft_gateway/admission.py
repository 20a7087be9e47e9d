"""Admit a request: find the replica that serves it, waiting for a load where none is ready."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from weft_common.choice import Choice, choose
from weft_common.clock import Clock
from weft_common.errors import ModelNotFound, NoCapacity, PartUnavailable
from weft_common.purposes import Ability, Purpose, require_ability
from weft_common.ticket import Ticket, replica_name, sign
from weft_gateway.affinity import Affinity
from weft_gateway.fleet_view import FleetView, Target
from weft_gateway.metrics import AdmissionMetrics
from weft_gateway.queueing import Queueing
from weft_gateway.routers import Routers
from weft_gateway.settings import GatewaySettings
from weft_gateway.slot import Ask, Slot
from weft_proto.pb.weft.types.v1 import model_pb2, replica_pb2

# How long the watch may take to tell what a router has answered already, before that router is asked again.
_CATCH_UP_SECONDS = 1.0
# Between two questions to a router that is itself behind; each pause is twice the one before.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
# Without these nobody knows more of the fleet than this gateway.
_NEEDED_TO_KNOW = ("router", "postgres")
_PURPOSES: Mapping[int, Purpose] = {
    model_pb2.MODEL_PURPOSE_EMBEDDING: Purpose.EMBEDDING,
    model_pb2.MODEL_PURPOSE_RERANKING: Purpose.RERANKING,
}


@dataclass(frozen=True, slots=True)
class Admitted:
    """Where a request goes, as the headers that Envoy and the replica act on; a value that could be granted ahead.

    `answer_headers` are for the client. It goes nowhere where its model is to be unloaded that is not loaded.
    """

    headers: Mapping[str, str]
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    is_needless: bool = False


class Admission:
    """Decides on the gateway's view of the fleet; asks a router only where the view has no answer."""

    def __init__(
        self,
        *,
        view: FleetView,
        routers: Routers,
        queueing: Queueing,
        settings: GatewaySettings,
        clock: Clock,
        metrics: AdmissionMetrics,
    ) -> None:
        self._view = view
        self._routers = routers
        self._queueing = queueing
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._affinity = Affinity(view=view, default=settings.route_policy, clock=clock)

    async def admit(self, ask: Ask) -> Admitted:
        """Find a replica and a slot of it; raises ModelNotFound, InvalidRequest where the model is for something else,
        and whatever a router refuses with.
        """
        asked, ask = ask.model, self._by_its_name(ask)
        self._require_model(ask.model, ask.ability, asked=asked)
        if ask.lets_go and not self._any_targets(ask.model):
            return Admitted({}, is_needless=True)
        targets = self._view.targets(ask.model) or await self._after_routing(ask.model)
        if self._queueing.is_needed(ask.model, targets):
            slot = await self._queueing.slot(ask)
            self._affinity.observe(self._affinity.chain(ask.model, ask.prompt), slot.choice.primary)
        else:
            slot = self._picked(ask, targets)
        return self._admitted(slot, ask)

    def _picked(self, ask: Ask, targets: Sequence[Target]) -> Slot:
        choice = self._choose(ask.model, targets, ask.prompt)
        assert choice is not None, "there is a target"
        number = choice.primary.load.pick(self._clock.monotonic())
        self._metrics.directly.inc()
        return Slot(choice, f"{self._view.gateway_id}/{number}")

    def _by_its_name(self, ask: Ask) -> Ask:
        """Ask for a model by the name that the catalog has; where neither is known, by the shorter one."""
        models = self._view.models
        if not ask.alias or ask.model in models:
            return ask
        known = ask.alias in models or len(ask.alias) < len(ask.model)
        return replace(ask, model=ask.alias) if known else ask

    def _require_model(self, model: str, ability: Ability, *, asked: str) -> None:
        if not self._view.known:
            raise PartUnavailable(
                "This gateway does not know the fleet yet: no router can be reached.",
                retry_after=timedelta(seconds=1),
                metadata={"part": "router"},
            )
        # What a router that is cut off has not told may be there: then another one is asked.
        known = self._view.models.get(model)
        if known is None and self._view.level:
            raise ModelNotFound(
                f"The model '{asked}' does not exist or you do not have access to it.",
                metadata={"model": asked},
            )
        if known is not None:
            # Here, since nothing is loaded for what can only be refused.
            require_ability(model, _PURPOSES.get(known.purpose, Purpose.CHAT), ability)

    def _choose(self, model: str, targets: Sequence[Target], prompt: bytes) -> Choice[Target] | None:
        """Pick a replica; where there is only one, nothing speaks for another and nothing is looked at."""
        if len(targets) < 2:
            return choose(targets, self._view.gateway_id)
        chain = self._affinity.chain(model, prompt)
        warm = self._affinity.prefer(model, chain, targets)
        choice = choose(targets, self._view.gateway_id, preferred=warm, slots=_limit)
        if choice is not None:
            self._affinity.observe(chain, choice.primary)
        return choice

    async def _after_routing(self, model: str) -> Sequence[Target]:
        """Have a router load the model, or look at replicas that seem gone; everybody then picks for himself.

        What was loaded may have made room for another model before it could be picked, and the view and the router
        may know different fleets for a moment: then once more, for as long as a request may wait for a load.
        """
        over = self._clock.monotonic() + self._settings.load_wait.total_seconds()
        pause = _FIRST_PAUSE_SECONDS
        while (left := over - self._clock.monotonic()) > 0:
            if targets := await self._routed(model, left, pause):
                return targets
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise PartUnavailable(
            f"Model '{model}' was loaded and is gone again; try again.", retry_after=timedelta(seconds=1)
        )

    async def _routed(self, model: str, max_wait: float, pause: float) -> Sequence[Target]:
        """Ask a router once, and where that gives no target let the two of them become level."""
        over = self._clock.monotonic() + max_wait
        try:
            answer = await self._routers.route(model, max_wait=max_wait, suspects=self._view.suspects(model))
        except NoCapacity:
            # There is room for no other, and by its worker's word this one is well.
            if unreached := self._view.unreached_targets(model):
                return unreached
            raise
        except PartUnavailable as error:
            # Nobody can tell whether these live; trying them is better than refusing.
            if targets := self._any_targets(model):
                return targets
            nobody_knows = error.metadata.get("part") in _NEEDED_TO_KNOW
            if nobody_knows and (targets := self._view.last_targets(model)):
                return targets
            raise
        self._view.merge(answer)
        if not self._any_targets(model):
            await self._become_level(answer.sequence, pause, max(over - self._clock.monotonic(), 0.0))
        return self._any_targets(model)

    async def _become_level(self, sequence: int, pause: float, left: float) -> None:
        """Wait until the view knows what the router knew, or, where the router is behind, for a moment."""
        if sequence > self._view.sequence:
            await self._view.reach(sequence, min(_CATCH_UP_SECONDS, left))
        else:
            await asyncio.sleep(min(pause, left))

    def _any_targets(self, model: str) -> Sequence[Target]:
        return self._view.targets(model) or self._view.silent_targets(model)

    def _admitted(self, slot: Slot, ask: Ask) -> Admitted:
        now, choice = self._clock.wall(), slot.choice
        targets = [choice.primary] if choice.fallback is None else [choice.primary, choice.fallback]
        ticket = Ticket(
            request_id=ask.request_id,
            replicas=tuple(_name(t.replica) for t in targets),
            principal=ask.principal.name,
            expiry=now + self._settings.ticket_lifetime.total_seconds(),
        )
        deadline = now + self._settings.request_timeout.total_seconds()
        headers = {
            "x-weft-destination": choice.primary.replica.address,
            "x-weft-served": ",".join(_served(t) for t in targets),
            "x-weft-pick": slot.pick,
            "x-weft-principal": ask.principal.name,
            "x-weft-deadline": str(int(deadline * 1000)),
            "x-weft-ticket": sign(ticket, self._settings.mesh_secret.get_secret_value()),
        }
        if choice.fallback is not None:
            headers["x-weft-fallback"] = choice.fallback.replica.address
        else:
            headers["x-envoy-max-retries"] = "0"
        return Admitted(headers, _told(slot) if self._settings.debug_headers else {})


def _limit(target: Target) -> int:
    return target.limit


def _told(slot: Slot) -> dict[str, str]:
    return {
        "x-weft-queue-position": str(slot.position),
        "x-weft-queue-wait-ms": str(round(slot.waited * 1000)),
    }


def _served(target: Target) -> str:
    """`ADDRESS NODE REPLICA`: who it is when the answer comes from there, which only Envoy knows."""
    replica = target.replica
    return f"{replica.address} {_plain(target.node.name)} {replica.model}#{replica.index}@{replica.revision}"


def _plain(name: str) -> str:
    """A person's name for a machine as a header can hold it, without the marks between fields."""
    return "".join(letter if "!" <= letter <= "~" and letter != "," else "?" for letter in name)


def _name(replica: replica_pb2.Replica) -> str:
    return replica_name(replica.model, replica.index, replica.revision, replica.id)
