"""The buffer between an engine's work and the one who writes its answer."""

import asyncio

from weft_common.errors import EngineFailed, ReplicaClosing
from weft_worker.backend.run import Failed, Run
from weft_worker.engines.base import Delta


async def test_events_come_in_order_and_then_the_end() -> None:
    run = Run()
    run.put(Delta("a"))
    run.put(Delta("b"))
    run.end()
    assert [await run.take() for _ in range(4)] == [Delta("a"), Delta("b"), None, None]


async def test_a_failure_comes_after_what_was_generated_before_it() -> None:
    run, failure = Run(), EngineFailed("out of luck")
    run.put(Delta("a"))
    run.end(failure)
    assert [await run.take() for _ in range(3)] == [Delta("a"), Failed(failure), None]


async def test_the_first_end_counts_and_nothing_follows_it() -> None:
    run = Run()
    run.end()
    run.put(Delta("late"))
    run.end(ReplicaClosing("late"))
    assert await run.take() is None


async def test_who_takes_waits_for_what_is_put() -> None:
    run = Run()
    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(run.take())
        await asyncio.sleep(0)
        assert not taking.done()
        run.put(Delta("a"))
    assert taking.result() == Delta("a")
