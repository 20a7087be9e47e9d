"""How long an idle replica stays."""

from math import inf
from typing import Any

import pytest

from tests.gateway.builders import a_model, a_node, a_policy, a_replica
from weft_gateway.expiry import Stay


def _stay(
    said: float | None = None, default: float = inf, policy: dict[str, Any] | None = None, **model: Any
) -> Stay:
    return Stay(
        a_model(**model),
        a_replica(),
        a_node(),
        None if policy is None else a_policy(**policy),
        said,
        default,
    )


def _seconds(count: int) -> dict[str, int]:
    return {"seconds": count}


@pytest.mark.parametrize(
    ("stay", "seconds"),
    [
        (_stay(), inf),
        (_stay(default=60), 60),
        (_stay(default=60, policy={"keep_alive": _seconds(90)}), 90),
        (_stay(default=60, policy={"keep_alive": _seconds(-1)}), inf),
        (_stay(said=5, default=60, policy={"keep_alive": _seconds(90)}), 5),
        (_stay(said=0), 0),
        (_stay(said=-1, default=60), inf),
        (_stay(said=5, pinned=True), inf),
        (_stay(said=5, policy={"min_replicas": 1}), inf),
        (_stay(said=5, policy={"spread_all": True}), inf),
    ],
)
def test_whoever_has_the_first_say(stay: Stay, seconds: float) -> None:
    assert stay.seconds() == seconds


def test_a_slow_load_is_unloaded_late() -> None:
    slow = a_replica(load_duration=_seconds(30))
    assert Stay(a_model(), slow, a_node(), None, None, 60).seconds() == 300
    assert Stay(a_model(), slow, a_node(), None, 5, 60).seconds() == 5


def test_a_node_may_allow_less() -> None:
    node = a_node(idle_limit=_seconds(7))
    assert Stay(a_model(), a_replica(), node, None, -1, inf).seconds() == 7
