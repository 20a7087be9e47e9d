"""What a router counts about waiting."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from weft_common.metrics import WAIT_BUCKETS


class SlotMetrics:
    """Counts by model; a model that is gone takes its numbers along."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waiting = Gauge(
            "weft_queue_waiting", "Requests that wait for a slot.", ["model"], registry=registry
        )
        self._waits = Histogram(
            "weft_queue_wait_seconds",
            "Time until a slot was handed out.",
            ["model"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._refused = Counter(
            "weft_queue_refused",
            "Requests that got no slot, by reason.",
            ["model", "reason"],
            registry=registry,
        )

    def waiting(self, model: str, count: int) -> None:
        """Note how many wait."""
        self._waiting.labels(model).set(count)

    def granted(self, model: str, seconds: float) -> None:
        """Note a slot that was handed out, and after how long."""
        self._waits.labels(model).observe(seconds)

    def refused(self, model: str, reason: str) -> None:
        """Note a refusal."""
        self._refused.labels(model, reason).inc()

    def forget(self, model: str) -> None:
        """Drop a model's numbers."""
        for metric in (self._waiting, self._waits, self._refused):
            metric.remove_by_labels({"model": model})
