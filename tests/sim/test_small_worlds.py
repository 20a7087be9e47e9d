"""Small, unlucky worlds: no rule is broken, and everything heals. Twenty thousand requests."""

import pytest

from tests.sim.seeds import live, small

pytestmark = pytest.mark.timeout(600)  # seconds of work, minutes on a machine that does ten other things


@pytest.mark.parametrize("seed", range(10))
def test_a_small_world_breaks_no_rule_and_heals(seed: int) -> None:
    assert live(small(seed)).ledger.counts["requests answered"] > 500
