"""Deadlines end waits, and nothing else."""

import asyncio

import pytest

from weft_common.errors import DeadlineExceeded
from weft_worker.backend.deadline import deadline_after, seconds_left


async def test_a_wait_within_the_deadline_gives_its_result() -> None:
    with deadline_after(60) as deadline:
        assert await deadline.within(asyncio.sleep, 0, "done") == "done"


async def test_without_a_deadline_nothing_ends() -> None:
    with deadline_after(None) as deadline:
        assert await deadline.within(asyncio.sleep, 0, "done") == "done"


async def test_a_wait_ends_when_time_is_up_and_the_task_goes_on() -> None:
    forever = asyncio.Event()
    with deadline_after(0.01) as deadline:
        with pytest.raises(DeadlineExceeded):
            await deadline.within(forever.wait)
        with pytest.raises(DeadlineExceeded):
            await deadline.within(forever.wait)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_is_not_a_wait_is_not_cut_off() -> None:
    with deadline_after(60) as deadline:
        deadline.pass_now()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_client_that_leaves_is_a_cancellation_also_when_time_is_up_too() -> None:
    waiting, forever = asyncio.Event(), asyncio.Event()

    async def call() -> None:
        with deadline_after(None) as deadline:
            waiting.set()
            asyncio.get_running_loop().call_soon(lambda: (task.cancel(), deadline.pass_now()))
            await deadline.within(forever.wait)

    task = asyncio.ensure_future(call())
    await waiting.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("101500", 1.5),
        ("99000", -1.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("9" * 17, None),
    ],
)
def test_the_deadline_is_read_from_metadata(text: str | None, seconds: float | None) -> None:
    assert seconds_left(text, now=100.0) == seconds
