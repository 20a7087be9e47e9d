"""Worlds that nobody has seen yet; `SIM_SEED=... pytest tests/sim/test_fresh_worlds.py` runs the same ones again.

Fourteen thousand requests.
"""

from collections.abc import Callable

import pytest

from tests.sim.seeds import fresh_seed, large, live, small
from tests.sim.shape import Shape

pytestmark = pytest.mark.timeout(600)  # seconds of work, minutes on a machine that does ten other things

SEED = fresh_seed()


@pytest.mark.parametrize(
    "shape", [small(SEED), small(SEED + 1), large(SEED + 2)], ids=["small", "small2", "large"]
)
def test_a_fresh_world_breaks_no_rule_and_heals(
    shape: Shape, record_property: Callable[[str, object], None]
) -> None:
    record_property("SIM_SEED", SEED)
    live(shape)
