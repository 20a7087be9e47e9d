"""Each scenario tells one rule or one bug that we must not have; what comes of it must be what is written.

`SCENARIOS_WRITE=1 pytest tests/scenarios` writes what comes of them now; read the difference before it is committed.
"""

import os
from pathlib import Path

import pytest

from tests.scenarios.script import replay

_SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda s: s.stem)
def test_a_scenario_comes_out_as_it_is_written(script: Path) -> None:
    written = script.read_text()
    come = replay(written)
    if os.environ.get("SCENARIOS_WRITE"):
        script.write_text(come)
    else:
        assert come == written


def test_every_scenario_says_first_what_it_tells() -> None:
    assert len(_SCRIPTS) >= 12
    assert [s.name for s in _SCRIPTS if not s.read_text().startswith("# ")] == []
