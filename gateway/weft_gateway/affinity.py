"""Prefers the replica that saw the beginning of a prompt lately, where a model's policy or the setting says so."""

from collections.abc import Sequence

from weft_common.affinity import AffinityRules, PrefixIndex, hash_chain
from weft_common.clock import Clock
from weft_gateway.fleet_view import FleetView, Target
from weft_gateway.settings import RoutePolicy
from weft_proto.pb.weft.types.v1 import policy_pb2

_DEFAULT_RULES = AffinityRules()


class Affinity:
    """What this gateway's own requests warmed; state: `_index`, which is bounded and forgets by age."""

    def __init__(self, *, view: FleetView, default: RoutePolicy, clock: Clock) -> None:
        self._view = view
        self._default = default
        self._clock = clock
        self._index = PrefixIndex()

    def chain(self, model: str, prompt: bytes) -> Sequence[int]:
        """How a prompt is known here; empty where nothing is to be preferred."""
        policy = self._view.policies.get(model)
        said = policy.route_policy if policy is not None else ""
        return hash_chain(model, prompt) if (said or self._default) == RoutePolicy.PREFIX_CACHE else ()

    def prefer(self, model: str, chain: Sequence[int], targets: Sequence[Target]) -> Target | None:
        """The replica with the longest warm prefix, unless it has no free slot or too much to do beside others."""
        if not chain:
            return None
        rules = _rules(self._view.policies.get(model))
        found = self._index.prefer(targets, chain, rules, self._clock.monotonic())
        return found if found is not None and not found.is_full else None

    def observe(self, chain: Sequence[int], target: Target) -> None:
        """Note where a prompt went."""
        if chain:
            self._index.observe(chain, target.replica_id, self._clock.monotonic())


def _rules(policy: policy_pb2.Policy | None) -> AffinityRules:
    """The thresholds of a policy; those of 0 are the defaults."""
    if policy is None:
        return _DEFAULT_RULES
    return AffinityRules(
        balance_abs_threshold=policy.balance_abs_threshold or _DEFAULT_RULES.balance_abs_threshold,
        balance_rel_threshold=policy.balance_rel_threshold or _DEFAULT_RULES.balance_rel_threshold,
        min_prefix_match=policy.min_prefix_match or _DEFAULT_RULES.min_prefix_match,
    )
