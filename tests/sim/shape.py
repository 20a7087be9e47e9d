"""How large and how unlucky a simulated world is; one value and its seed replay everything."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """A world; `fault_share` is faults by request, `loss_share` messages that get lost, and as many come late.

    `pressure` is how much the models of a pool need, beside the memory that its machines have.
    """

    seed: int
    node_count: int = 12
    model_count: int = 8
    request_count: int = 2_000
    requests_per_second: float = 10.0
    fault_share: float = 0.01
    loss_share: float = 0.01
    router_count: int = 2
    gateway_count: int = 2
    pressure: float = 1.6
    # How far a gateway's view may lag behind its router's, and how often workers report, in seconds.
    view_lag_seconds: float = 0.05
    report_seconds: float = 1.0
    # How long a request lasts on average, and how long it may wait for a model.
    service_seconds: float = 2.0
    load_wait_seconds: float = 60.0

    @property
    def busy_seconds(self) -> float:
        """How long requests keep coming."""
        return self.request_count / self.requests_per_second
