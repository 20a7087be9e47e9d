"""What a gateway counts about admission."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from weft_common.metrics import WAIT_BUCKETS


class AdmissionMetrics:
    """Requests by the way that they were admitted, refusals by reason, and those who wait."""

    def __init__(self, registry: CollectorRegistry) -> None:
        admitted = Counter(
            "weft_admitted",
            "Requests that were sent to a replica, by who chose it.",
            ["by"],
            registry=registry,
        )
        # Looked up once: these are counted for every request.
        self.directly = admitted.labels("gateway")
        self.by_router = admitted.labels("router")
        self.by_itself = admitted.labels("gateway_queue")
        self.refused = Counter(
            "weft_refused", "Requests that were refused, by reason.", ["reason"], registry=registry
        )
        self.waiting = Gauge("weft_admission_waiting", "Requests that wait for a slot.", registry=registry)
        self.waits = Histogram(
            "weft_admission_wait_seconds",
            "Time that requests waited for a slot, those without one included.",
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
