"""Admit a request: find the replica that serves it, waiting for a load where none is ready."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from weft_common.choice import Choice, choose
from weft_common.clock import Clock
from weft_common.errors import ModelNotFound, PartUnavailable
from weft_common.ticket import Ticket, replica_name, sign
from weft_gateway.affinity import Affinity
from weft_gateway.fleet_view import FleetView, Target
from weft_gateway.routers import Routers
from weft_gateway.settings import GatewaySettings
from weft_proto.pb.weft.types.v1 import replica_pb2

# How long the watch may take to tell what a router has answered already, before that router is asked again.
_CATCH_UP_SECONDS = 1.0
# Between two questions to a router that is itself behind; each pause is twice the one before.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5


@dataclass(frozen=True, slots=True)
class Admitted:
    """Where a request goes, as the headers that Envoy and the replica act on; a value that could be granted ahead."""

    headers: Mapping[str, str]


class Admission:
    """Decides on the gateway's view of the fleet; asks a router only where the view has no answer."""

    def __init__(self, *, view: FleetView, routers: Routers, settings: GatewaySettings, clock: Clock) -> None:
        self._view = view
        self._routers = routers
        self._settings = settings
        self._clock = clock
        self._affinity = Affinity(view=view, default=settings.route_policy, clock=clock)

    async def admit(self, model: str, principal: str, request_id: str, prompt: bytes = b"") -> Admitted:
        """Find a replica; raises ModelNotFound and whatever a router refuses with.

        `prompt` is the beginning of the conversation, for those replicas that may have it in their cache.
        """
        self._require_model(model)
        choice = self._choose(model, self._view.targets(model), prompt)
        if choice is None:
            choice = await self._after_routing(model, prompt)
        return self._admitted(choice, principal, request_id)

    def _require_model(self, model: str) -> None:
        if not self._view.known:
            raise PartUnavailable(
                "This gateway does not know the fleet yet: no router can be reached.",
                retry_after=timedelta(seconds=1),
                metadata={"part": "router"},
            )
        if model not in self._view.models:
            raise ModelNotFound(f"The model '{model}' does not exist or you do not have access to it.")

    def _choose(self, model: str, targets: Sequence[Target], prompt: bytes) -> Choice[Target] | None:
        """Pick a replica; where there is only one, nothing speaks for another and nothing is looked at."""
        if len(targets) < 2:
            return choose(targets, self._view.gateway_id)
        chain = self._affinity.chain(model, prompt)
        warm = self._affinity.prefer(model, chain, targets)
        choice = choose(targets, self._view.gateway_id, preferred=warm, slots=_slots)
        if choice is not None:
            self._affinity.observe(chain, choice.primary)
        return choice

    async def _after_routing(self, model: str, prompt: bytes) -> Choice[Target]:
        """Have a router load the model, or look at replicas that seem gone; everybody then picks for himself.

        What was loaded may have made room for another model before it could be picked, and the view and the router
        may know different fleets for a moment: then once more, for as long as a request may wait for a load.
        """
        over = self._clock.monotonic() + self._settings.load_wait.total_seconds()
        pause = _FIRST_PAUSE_SECONDS
        while (left := over - self._clock.monotonic()) > 0:
            choice = await self._routed(model, prompt, left, pause)
            if choice is not None:
                return choice
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise PartUnavailable(
            f"Model '{model}' was loaded and is gone again; try again.", retry_after=timedelta(seconds=1)
        )

    async def _routed(
        self, model: str, prompt: bytes, max_wait: float, pause: float
    ) -> Choice[Target] | None:
        """Ask a router once, and where that gives no target let the two of them become level; None if it did not."""
        over = self._clock.monotonic() + max_wait
        try:
            answer = await self._routers.route(model, max_wait=max_wait, suspects=self._view.suspects(model))
        except PartUnavailable:
            # Nobody can tell whether the silent ones live; trying them is better than refusing.
            choice = self._choose(model, self._view.silent_targets(model), prompt)
            if choice is None:
                raise
            return choice
        self._view.merge(answer)
        choice = self._choose_any(model, prompt)
        if choice is None:
            await self._become_level(answer.sequence, pause, max(over - self._clock.monotonic(), 0.0))
            choice = self._choose_any(model, prompt)
        return choice

    async def _become_level(self, sequence: int, pause: float, left: float) -> None:
        """Wait until the view knows what the router knew, or, where the router is behind, for a moment."""
        if sequence > self._view.sequence:
            await self._view.reach(sequence, min(_CATCH_UP_SECONDS, left))
        else:
            await asyncio.sleep(min(pause, left))

    def _choose_any(self, model: str, prompt: bytes) -> Choice[Target] | None:
        targets = self._view.targets(model) or self._view.silent_targets(model)
        return self._choose(model, targets, prompt)

    def _admitted(self, choice: Choice[Target], principal: str, request_id: str) -> Admitted:
        now = self._clock.wall()
        targets = [choice.primary] if choice.fallback is None else [choice.primary, choice.fallback]
        ticket = Ticket(
            request_id=request_id,
            replicas=tuple(_name(t.replica) for t in targets),
            principal=principal,
            expiry=now + self._settings.ticket_lifetime.total_seconds(),
        )
        number = choice.primary.load.pick(self._clock.monotonic())
        deadline = now + self._settings.request_timeout.total_seconds()
        headers = {
            "x-weft-destination": choice.primary.replica.address,
            "x-weft-served": ",".join(_served(t) for t in targets),
            "x-weft-pick": f"{self._view.gateway_id}/{number}",
            "x-weft-principal": principal,
            "x-weft-deadline": str(int(deadline * 1000)),
            "x-weft-ticket": sign(ticket, self._settings.mesh_secret.get_secret_value()),
        }
        if choice.fallback is not None:
            headers["x-weft-fallback"] = choice.fallback.replica.address
        else:
            headers["x-envoy-max-retries"] = "0"
        return Admitted(headers)


def _slots(target: Target) -> int:
    return target.slot_count


def _served(target: Target) -> str:
    """`ADDRESS NODE REPLICA`: who it is when the answer comes from there, which only Envoy knows."""
    replica = target.replica
    return f"{replica.address} {_plain(target.node.name)} {replica.model}#{replica.index}@{replica.revision}"


def _plain(name: str) -> str:
    """A person's name for a machine as a header can hold it, without the marks between fields."""
    return "".join(letter if "!" <= letter <= "~" and letter != "," else "?" for letter in name)


def _name(replica: replica_pb2.Replica) -> str:
    return replica_name(replica.model, replica.index, replica.revision, replica.id)
