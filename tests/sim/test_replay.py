"""A seed replays its world exactly, whatever Python's hashes are; and a broken rule ends a world."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sim.ledger import Broken
from tests.sim.seeds import live, small
from tests.sim.world import World
from weft_router.fleet.scaling import ScalingRules
from weft_router.placement.rules import EvictionRules

pytestmark = pytest.mark.timeout(600)  # seconds of work, minutes on a machine that does ten other things

ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = "from tests.sim.seeds import *; print(live(small(3, 500)).ledger.table())"


def told(hash_seed: str) -> str:
    paths = os.pathsep.join((str(ROOT), *(p for p in sys.path if p)))
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return run.stdout


def test_a_seed_tells_the_same_story_whatever_the_hashes() -> None:
    assert told("1") == told("2") != ""


def test_a_router_that_counts_no_loads_under_way_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation is worth something only if it finds what it is meant to find."""
    monkeypatch.setattr("tests.sim.loads.may_begin", lambda view, replica_id: True)
    with pytest.raises(Broken, match="over-committed"):
        for seed in range(5):
            live(small(seed))


def test_a_worker_that_is_stopped_while_busy_is_found_out() -> None:
    world = World(replace(small(1), fault_share=0.001, pressure=4.0))
    world.rules = EvictionRules(force=True, residency_seconds=0.0)
    with pytest.raises(Broken, match="was stopped with"):
        world.run()


def test_scaling_to_and_fro_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = ScalingRules(busy_seconds=0.0, idle_seconds=2.0, busy_share=0.0)
    monkeypatch.setattr("tests.sim.loops.SCALING", hasty)
    with pytest.raises(Broken, match="after the load had one added or taken away"):
        for seed in range(5):
            live(small(seed))
