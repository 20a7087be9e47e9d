"""Clients that take their answers slowly, or not at all, over real gRPC with its flow control."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.worker.backend.running_backend import running_backend
from weft_common.errors import DeadlineExceeded, WeftError

# More than gRPC holds on both sides for a client that does not read.
LONG = "tokens=20000"
LONG_CONTEXT = 30_000


async def _frames(call: Any) -> list[Any]:
    return [frame async for frame in call]


async def test_a_client_that_does_not_read_holds_no_slot_once_the_engine_is_done(tmp_path: Path) -> None:
    async with running_backend(tmp_path, slot_count=1, context_size=LONG_CONTEXT) as backend:
        slow = backend.completion(say=LONG, stream=True)
        first = await anext(slow)
        await backend.agent.load(lambda load: load.ended == 1)
        assert (await _frames(backend.chat("tokens=2")))[-1].HasField("finish")
        text = b"".join(frame.data for frame in [first, *await _frames(slow)])
        assert text.count(b'"content":"t') == 20_000
        assert text.endswith(b"data: [DONE]\n\n")


async def test_a_client_that_takes_nothing_for_too_long_is_cut_and_its_sequence_dropped(
    tmp_path: Path,
) -> None:
    fields = {"slot_count": 1, "max_queue_count": 0, "context_size": 10_000_000, "stall_seconds": 0.4}
    async with running_backend(tmp_path, **fields) as backend:
        stalled = backend.completion(say="delay_ms=0", stream=True, ignore_eos=True)
        await anext(stalled)
        await backend.agent.load(lambda load: load.ended == 1)
        assert any(line["event"] == "client_stalled" for line in backend.log())
        # What was under way still comes when it reads on, and then the end: it is not left to wait.
        with pytest.raises(DeadlineExceeded, match="Nothing of the answer was taken"):
            await _frames(stalled)


async def test_a_client_that_reads_is_not_cut_however_slow_the_engine(tmp_path: Path) -> None:
    # The patience outlasts what a busy machine takes from this client, and the engine's pauses outlast the patience.
    async with running_backend(tmp_path, stall_seconds=0.8) as backend:
        answers = await _frames(backend.chat("tokens=2 delay_ms=1200"))
        assert answers[-1].HasField("finish")


async def test_many_slow_clients_do_not_keep_a_replica_from_others(tmp_path: Path) -> None:
    async with running_backend(
        tmp_path, slot_count=2, max_queue_count=2, context_size=LONG_CONTEXT
    ) as backend:
        slow = [backend.completion(say=LONG, stream=True) for _ in range(2)]
        await asyncio.gather(*(anext(call) for call in slow))
        answers = await asyncio.gather(*(_frames(backend.chat("tokens=2")) for _ in range(2)))
        assert all(frames[-1].HasField("finish") for frames in answers)
        for call in slow:
            call.cancel()


async def test_a_client_that_does_not_read_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with running_backend(tmp_path, context_size=LONG_CONTEXT) as backend:
        stalled = backend.completion(say=LONG, stream=True)
        await anext(stalled)
        await backend.agent.load(lambda load: load.ended == 1)
        backend.agent.stop(grace_seconds=0.1)
        async with asyncio.timeout(5):
            assert await backend.exit_code() == 0
        with pytest.raises(WeftError):
            await _frames(stalled)
