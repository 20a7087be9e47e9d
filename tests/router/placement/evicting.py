"""Nodes that are full, and who would go from them for a new model."""

from typing import Any

from tests.router.builders import GIB, a_fleet, a_model, a_node
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.policy import Policy
from weft_router.placement.decide import decide
from weft_router.placement.decision import Decision, Evict
from weft_router.placement.request import Request
from weft_router.placement.rules import EvictionRules

NOW = 1000.0
RULES = EvictionRules(residency_seconds=10, report_seconds=5, patience_seconds=20)


def wish(
    need_gib: float = 8, policy: Policy | None = None, model: dict[str, Any] | None = None, **fields: Any
) -> Request:
    return Request(a_model("new", **(model or {})), int(need_gib * GIB), policy or Policy("new"), **fields)


def full_node(name: str = "one", **fields: Any) -> Any:
    """A node of 16 GiB on which nothing is free."""
    return a_node(name, free_gib=0, **fields)


def a_world(*things: Any, used: dict[str, float] | None = None, busy: dict[str, int] | None = None) -> Fleet:
    """A fleet whose replicas have been ready for long; `used` says when each was used last."""
    models = {t.model for t in things if hasattr(t, "revision") and hasattr(t, "node_id")}
    known = {t.name for t in things if hasattr(t, "backend")}
    fleet = a_fleet(*things, *(a_model(m) for m in sorted(models - known)), now=0)
    for replica in list(fleet.replicas.values()):
        for count, moment in ((1, 1.0), (0, (used or {}).get(replica.id, 1.0))):
            fleet.report(replica.node_id, {replica.id: count}, moment)
        if replica.id in (busy or {}):
            fleet.report(replica.node_id, {replica.id: (busy or {})[replica.id]}, NOW - 1)
    for node_id, node in list(fleet.nodes.items()):
        fleet.report(node_id, {}, NOW)
        fleet.measure(node_id, node.devices, fleet.replicas_on(node_id))
    return fleet


def decided(request: Request, fleet: Fleet, *, now: float = NOW, rules: EvictionRules = RULES) -> Decision:
    return decide(request, fleet.snapshot(), now=now, rules=rules)


def victims(request: Request, fleet: Fleet, **options: Any) -> set[str]:
    decision = decided(request, fleet, **options)
    assert isinstance(decision, Evict), decision
    return {r.id for r in decision.victims}
