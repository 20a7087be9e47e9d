"""Changes: nobody who waits misses one."""

import asyncio

from weft_worker.backend.changes import Changes


async def test_a_change_before_the_wait_is_not_missed() -> None:
    changes = Changes()
    seen = changes.version
    changes.tell()
    assert await changes.after(seen) == seen + 1


async def test_a_change_during_the_wait_ends_it_for_everybody() -> None:
    changes = Changes()
    waiting = [asyncio.ensure_future(changes.after(changes.version)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waiting)
    changes.tell()
    assert await asyncio.gather(*waiting) == [1, 1, 1]
