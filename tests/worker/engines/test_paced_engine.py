"""What tests of loads rely on in the paced engine: a gate, a count, memory that is really held."""

import asyncio
from pathlib import Path

import psutil
from weft_paced_engine import PacedEngine

from weft_worker.engines.base import EngineModel


def _model(**options: str) -> EngineModel:
    return EngineModel(name="paced", path="", context_size=64, options=options)


def _held_bytes() -> int:
    return int(psutil.Process().memory_full_info().pss)


async def test_a_load_waits_at_its_gate_and_is_counted(tmp_path: Path) -> None:
    gate, count = tmp_path / "gate", tmp_path / "count"
    engine = PacedEngine()
    model = _model(load_gate_file=str(gate), load_count_file=str(count))
    load = asyncio.ensure_future(engine.load(model, lambda fraction: None))
    while not count.exists():
        await asyncio.sleep(0.001)
    assert not load.done()
    gate.touch()
    await load
    assert count.read_bytes() == b"."


async def test_memory_is_held_from_the_load_to_the_close() -> None:
    engine, before = PacedEngine(), _held_bytes()
    await engine.load(_model(memory_mib="64"), lambda fraction: None)
    assert _held_bytes() - before > 60 << 20
    await engine.close()
    assert _held_bytes() - before < 32 << 20
