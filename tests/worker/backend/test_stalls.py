"""What a backend tells its agent of an engine that gives nothing, and that tokens take it back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.worker.backend.running_backend import running_backend


async def test_the_agent_hears_how_long_an_engine_has_given_nothing_and_that_it_goes_on(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    async with running_backend(tmp_path, slot_count=2) as backend:
        idle = await backend.agent.load(lambda load: load.in_flight == 0)
        assert (idle.stalled_seconds, idle.stuck_seconds) == (None, None)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_all(backend.chat(f"tokens=2 gate_file={gate}")))
            stuck = await backend.agent.load(lambda load: (load.stuck_seconds or 0) > 0.5)
            assert stuck.stalled_seconds == pytest.approx(stuck.stuck_seconds, abs=0.1)
            tasks.create_task(_all(backend.chat("tokens=200 delay_ms=10")))
            # One of them starves, and the engine is well.
            starved = await backend.agent.load(
                lambda load: (
                    load.in_flight == 2 and (load.stuck_seconds or 0) < 0.5 < (load.stalled_seconds or 0)
                )
            )
            assert starved.in_flight == 2
            gate.touch()
        over = await backend.agent.load(lambda load: load.in_flight == 0 and load.ended == 2)
        assert (over.stalled_seconds, over.stuck_seconds) == (None, None)


async def _all(call: Any) -> None:
    async for _ in call:
        pass
