"""Worlds that nobody has seen yet; `SIM_SEED=... pytest tests/sim/test_fresh_worlds.py` runs the same ones again.

Fourteen thousand requests.
"""

import pytest

from tests.sim.seeds import fresh_seed, large, live, small

SEED = fresh_seed()


@pytest.mark.parametrize(
    "shape", [small(SEED), small(SEED + 1), large(SEED + 2)], ids=["small", "small2", "large"]
)
def test_a_fresh_world_breaks_no_rule_and_heals(shape: object, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nSIM_SEED={SEED}")
    live(shape)  # type: ignore[arg-type]
