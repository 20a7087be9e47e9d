"""What an operator may set about eviction; every field has its unit and a default."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EvictionRules:
    """When a replica may make room for another model.

    No replica goes within `residency_seconds` of its load, which bounds how often two models can push each other out.
    A node whose load was not reported for `report_seconds` may be busy for all one knows. A request that has waited
    for `patience_seconds` may close a busy replica to new requests, so that steady traffic on one model cannot keep
    another out for ever; what is in flight there still finishes. `force` cuts busy replicas instead of waiting.
    """

    residency_seconds: float = 5.0
    report_seconds: float = 5.0
    patience_seconds: float = 5.0
    force: bool = False
