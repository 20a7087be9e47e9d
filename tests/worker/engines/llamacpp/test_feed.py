"""Items from a thread reach the loop, all of them, in order."""

import asyncio
import threading

from weft_worker.engines.llamacpp.feed import Feed


async def test_every_item_arrives_in_order() -> None:
    feed: Feed[int] = Feed(asyncio.get_running_loop())
    thread = threading.Thread(target=lambda: [feed.put(number) for number in range(20_000)])
    thread.start()
    taken: list[int] = []
    async with asyncio.timeout(20):
        while len(taken) < 20_000:
            taken += await feed.take()
    thread.join()
    assert taken == list(range(20_000))


async def test_what_has_gathered_is_taken_at_once() -> None:
    feed: Feed[str] = Feed(asyncio.get_running_loop())
    for item in "abc":
        feed.put(item)
    assert await feed.take() == ["a", "b", "c"]


def test_a_closed_loop_takes_nothing() -> None:
    loop = asyncio.new_event_loop()
    feed: Feed[str] = Feed(loop)
    loop.close()
    assert feed.put("a") is False
