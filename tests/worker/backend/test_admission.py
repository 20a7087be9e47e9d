"""Admission: slots, then a bounded queue in order of arrival, then a refusal; leaving frees what was held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from weft_common.errors import ReplicaClosing, ReplicaFull
from weft_worker.backend.admission import Admission, Refusal


class _Visitor:
    """A request that holds its slot until it is told to go."""

    def __init__(self, admission: Admission, tasks: asyncio.TaskGroup) -> None:
        self.admitted = asyncio.Event()
        self._go = asyncio.Event()
        self.task = tasks.create_task(self._visit(admission))

    async def _visit(self, admission: Admission) -> None:
        async with admission.slot():
            self.admitted.set()
            await self._go.wait()

    async def leave(self) -> None:
        self._go.set()
        await self.task


def _admission(slots: int = 1, queue: int = 2) -> Admission:
    return Admission(slots, queue, on_change=lambda: None)


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def _visitors(admission: Admission, count: int) -> AsyncIterator[list[_Visitor]]:
    async with asyncio.TaskGroup() as tasks:
        visitors = []
        for _ in range(count):
            visitors.append(_Visitor(admission, tasks))
            await _settle()
        yield visitors
        for visitor in visitors:
            visitor.task.cancel()


def _counts(admission: Admission) -> tuple[int, int]:
    return admission.in_flight_count, admission.queued_count


async def test_requests_beyond_the_slots_wait_in_order_of_arrival() -> None:
    admission = _admission()
    async with _visitors(admission, 3) as (first, second, third):
        assert _counts(admission) == (1, 2)
        await first.leave()
        await second.admitted.wait()
        assert not third.admitted.is_set()
        await second.leave()
        await third.admitted.wait()
    assert _counts(admission) == (0, 0)


async def test_a_request_beyond_the_queue_is_refused_and_not_counted() -> None:
    admission = _admission()
    async with _visitors(admission, 3):
        with pytest.raises(ReplicaFull, match="1 requests run and 2 wait"):
            async with admission.slot():
                pytest.fail("it was admitted")
        assert _counts(admission) == (1, 2)
        assert admission.started_count == 3


@pytest.mark.parametrize(("queue", "room"), [(2, 12), (0, 0)])
async def test_beyond_a_queue_there_is_room_for_the_requests_of_replicas_that_hang(
    queue: int, room: int
) -> None:
    admission = _admission(queue=queue)
    async with _visitors(admission, 1 + queue), AsyncExitStack() as stack:
        fallbacks = [admission.slot(is_fallback=True) for _ in range(room + 1)]
        entering = [asyncio.ensure_future(stack.enter_async_context(f)) for f in fallbacks]
        await _settle()
        assert _counts(admission) == (1, queue + room)
        with pytest.raises(ReplicaFull):
            await entering[-1]
        with pytest.raises(ReplicaFull):
            async with admission.slot():
                pytest.fail("it was admitted")
        for task in entering:
            task.cancel()
        await _settle()
    assert _counts(admission) == (0, 0)


async def test_fallbacks_take_no_place_from_those_who_are_sent_here_first() -> None:
    admission = _admission(queue=1)
    async with _visitors(admission, 1), AsyncExitStack() as stack:
        kinds = (True, True, True, False)
        entering = [
            asyncio.ensure_future(stack.enter_async_context(admission.slot(is_fallback=kind)))
            for kind in kinds
        ]
        await _settle()
        assert _counts(admission) == (1, 4)
        for task in entering:
            task.cancel()
        await _settle()


async def test_a_request_that_leaves_the_queue_frees_its_place() -> None:
    admission = _admission()
    async with _visitors(admission, 3) as (first, second, third):
        second.task.cancel()
        await _settle()
        assert _counts(admission) == (1, 1)
        await first.leave()
        await third.admitted.wait()


async def test_a_slot_granted_to_a_request_that_leaves_at_once_is_passed_on() -> None:
    on_grant: list[asyncio.Task[None]] = []
    admission = Admission(1, 2, on_change=lambda: [task.cancel() for task in on_grant])
    async with _visitors(admission, 3) as (first, second, third):
        on_grant.append(second.task)  # it is cancelled with its slot granted, before it can run
        await first.leave()
        await third.admitted.wait()
        assert _counts(admission) == (1, 0)
        assert not second.admitted.is_set()
        on_grant.clear()


async def test_waiting_requests_are_turned_away_and_running_ones_go_on() -> None:
    admission = _admission()
    async with _visitors(admission, 1) as (running,):
        waiting = asyncio.ensure_future(_enter(admission))
        await _settle()
        admission.refuse_new(Refusal.STOPPING)
        admission.turn_away_waiting()
        with pytest.raises(ReplicaClosing, match="is stopping"):
            await waiting
        assert _counts(admission) == (1, 0)
        assert running.admitted.is_set()


async def test_a_refusal_ends_when_its_own_cause_does() -> None:
    admission = _admission()
    admission.refuse_new(Refusal.AGENT_LOST)
    admission.refuse_new(Refusal.UNLOADING)
    admission.accept_new(Refusal.AGENT_LOST)
    with pytest.raises(ReplicaClosing, match="being unloaded"):
        await _enter(admission)
    admission.accept_new(Refusal.UNLOADING)
    await _enter(admission)


async def test_idle_comes_when_the_last_request_has_left() -> None:
    admission = _admission()
    async with _visitors(admission, 2) as (first, second):
        idle = asyncio.ensure_future(admission.idle())
        await first.leave()
        assert not idle.done()
        await second.leave()
        await idle
    assert (admission.started_count, admission.ended_count) == (2, 2)


async def test_every_change_is_told() -> None:
    told: list[tuple[int, int]] = []
    admission = Admission(1, 1, on_change=lambda: told.append(_counts(admission)))
    async with _visitors(admission, 2) as (first, second):
        await first.leave()
        await second.leave()
    assert told == [(1, 0), (1, 1), (1, 0), (0, 0)]


async def _enter(admission: Admission) -> None:
    async with admission.slot():
        pass
