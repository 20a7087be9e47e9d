"""The thread that owns a generator, over one that does as it is told: whose fault fails whom."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import pytest
import pytest_asyncio

from weft_common.errors import EngineFailed, InvalidRequest, LoadFailed
from weft_worker.engines.base import Delta, FinishReason, Sampling, Usage
from weft_worker.engines.exllama.answer import AnswerText
from weft_worker.engines.exllama.batch import Batch, Ending, Order, Step, Token
from weft_worker.engines.exllama.owner import End, Owner, Work
from weft_worker.engines.guidance import Guides

END, REFUSED, BROKEN = 0, 1, 2


class _Letters:
    """A vocabulary in which each token is the character of that number."""

    def token_bytes(self, token: int) -> bytes:
        return chr(token).encode()

    spelling = token_bytes


class _Batch:
    """Says each prompt's tokens back, one a step; those of the numbers above go wrong. State: jobs, in their order."""

    def __init__(self) -> None:
        self.jobs: dict[int, list[int]] = {}
        self.is_closed = False
        self.renewed_count = 0
        self.cancel_failure: BaseException | None = None
        """What a cancel raises."""
        self.idle_failure: BaseException | None = None
        """What the question for work raises."""
        self._count = 0

    @property
    def is_idle(self) -> bool:
        if self.idle_failure is not None:
            raise self.idle_failure
        return not self.jobs

    def start(self, order: Order) -> int:
        if REFUSED in order.prompt:
            raise AssertionError("no such prompt")
        self._count += 1
        self.jobs[self._count] = list(order.prompt)
        return self._count

    def cancel(self, job: int) -> None:
        if self.cancel_failure is not None:
            raise self.cancel_failure
        self.jobs.pop(job, None)

    def step(self) -> Sequence[Step]:
        return [self._step(job) for job in list(self.jobs)]

    def _step(self, job: int) -> Step:
        token = self.jobs[job].pop(0)
        if token == BROKEN:
            del self.jobs[job]
            return Step(job, [], Ending.END_TOKEN, ValueError("its logits are no numbers"))
        if not self.jobs[job]:
            del self.jobs[job]
            return Step(job, [Token(token)], Ending.LIMIT)
        return Step(job, [Token(token)], None)

    def cached_count(self, job: int) -> int:
        return 1

    def renew(self) -> None:
        self.renewed_count += 1
        self.jobs.clear()

    def close(self) -> None:
        self.is_closed = True


class _Panic(BaseException):
    """As of native code, which is no Exception."""


@pytest.fixture
def batch() -> _Batch:
    return _Batch()


@pytest.fixture
def broken() -> list[str]:
    """Why no generator is left."""
    return []


@pytest_asyncio.fixture
async def owner(batch: _Batch, broken: list[str]) -> AsyncIterator[Owner]:
    made = Owner(lambda: cast("Batch", batch), asyncio.get_running_loop(), broken.append, "letters")
    await made.load()
    yield made
    assert await made.close(10)


def _work(text: str, *stops: str) -> Work:
    prompt = tuple(map(ord, text))
    order = Order(prompt, len(prompt), Sampling(), (END,))
    return Work(order, AnswerText(cast("Guides", _Letters()), stops, (END,)), asyncio.get_running_loop())


async def _answer(work: Work) -> tuple[str, End]:
    items: list[Any] = []
    while not items or not isinstance(items[-1], End):
        items += await work.feed.take(gather=False)
    await work.released.wait()
    return "".join(item.text for item in items if isinstance(item, Delta)), items[-1]


async def test_answers_are_told_to_those_who_asked(owner: Owner) -> None:
    works = [_work("hello"), _work("wörld", "never")]
    for work in works:
        owner.begin(work)
    told = [await _answer(work) for work in works]
    assert told == [
        ("hello", End(FinishReason.LENGTH, Usage(5, 5, 1))),
        ("wörld", End(FinishReason.LENGTH, Usage(5, 5, 1))),
    ]


async def test_a_stop_string_ends_an_answer_where_it_begins(owner: Owner) -> None:
    work = _work("one, two, three", ", tw", "o, ")
    owner.begin(work)
    assert await _answer(work) == ("one", End(FinishReason.STOP, Usage(15, 7, 1), ", tw"))


async def test_what_the_library_does_not_take_fails_alone(owner: Owner) -> None:
    refused, good = _work("a\x01"), _work("good")
    owner.begin(refused)
    owner.begin(good)
    _, end = await _answer(refused)
    assert "no such prompt" in str(end.failure)
    assert (await _answer(good))[0] == "good"


async def test_what_fails_by_itself_fails_alone(owner: Owner) -> None:
    broken, good = _work("ab\x02cd"), _work("long enough")
    owner.begin(broken)
    owner.begin(good)
    text, end = await _answer(broken)
    assert (text, type(end.failure)) == ("ab", EngineFailed)
    assert (await _answer(good))[0] == "long enough"


async def test_what_was_cut_ends_as_if_by_itself(owner: Owner) -> None:
    work = _work("x" * 1_000_000)
    owner.begin(work)
    await work.feed.take(gather=False)
    owner.finish(work)
    _, end = await _answer(work)
    assert (end.reason, end.failure) == (FinishReason.STOP, None)


LONG = "x" * 1_000_000
WAIT_SECONDS = 10


async def _both_fail(owner: Owner, end_first: Callable[[Work], None]) -> list[str]:
    """How two answers fail that run while the first is ended in a way that raises."""
    works = [_work(LONG), _work(LONG)]
    for work in works:
        owner.begin(work)
        await work.feed.take(gather=False)
    end_first(works[0])
    async with asyncio.timeout(WAIT_SECONDS):
        ends = [(await _answer(work))[1] for work in works]
    assert all(isinstance(end.failure, EngineFailed) for end in ends)
    return [str(end.failure) for end in ends]


@pytest.mark.parametrize("failure", [AssertionError("pages are left"), _Panic("pages are left")])
@pytest.mark.parametrize("way", ["cancel", "finish"])
async def test_an_end_that_the_library_fails_at_fails_all_and_a_new_generator_goes_on(
    owner: Owner, batch: _Batch, broken: list[str], way: str, failure: BaseException
) -> None:
    batch.cancel_failure = failure
    told = await _both_fail(owner, getattr(owner, way))
    assert all("pages are left" in each for each in told)
    good = _work("good")
    owner.begin(good)
    assert ((await _answer(good))[0], batch.renewed_count, broken) == ("good", 1, [])


async def test_a_stop_that_the_library_fails_at_fails_all_and_a_new_generator_goes_on(
    owner: Owner, batch: _Batch
) -> None:
    batch.cancel_failure = AssertionError("pages are left")
    stopped = _work("one, two, three", "two")
    owner.begin(stopped)
    async with asyncio.timeout(WAIT_SECONDS):
        _, end = await _answer(stopped)
    assert "pages are left" in str(end.failure)
    good = _work("good")
    owner.begin(good)
    assert ((await _answer(good))[0], batch.renewed_count) == ("good", 1)


async def test_a_device_that_is_lost_in_a_cancel_is_told(
    owner: Owner, batch: _Batch, broken: list[str]
) -> None:
    batch.cancel_failure = RuntimeError("CUDA error: an illegal memory access was encountered")
    await _both_fail(owner, owner.cancel)
    later = _work("later")
    owner.begin(later)
    assert "illegal memory access" in str((await _answer(later))[1].failure)
    assert (len(broken), batch.renewed_count) == (1, 0)


@pytest.mark.parametrize("failure", [AssertionError("no count"), _Panic("no count")])
async def test_a_thread_that_ends_by_itself_leaves_nobody_waiting(
    owner: Owner, batch: _Batch, broken: list[str], failure: BaseException
) -> None:
    running = _work(LONG)
    owner.begin(running)
    await running.feed.take(gather=False)
    batch.idle_failure = failure
    async with asyncio.timeout(WAIT_SECONDS):
        assert isinstance((await _answer(running))[1].failure, EngineFailed)
        for late in (_work("a"), _work("b")):
            owner.begin(late)
            assert isinstance((await _answer(late))[1].failure, EngineFailed)
    assert [why for why in broken if "no count" in why] == broken != []


async def test_after_the_close_everything_is_refused() -> None:
    batch = _Batch()
    owner = Owner(lambda: cast("Batch", batch), asyncio.get_running_loop(), lambda why: None, "letters")
    await owner.load()
    running, late = _work("x" * 1_000_000), _work("y" * 1_000_000)
    owner.begin(running)
    await running.feed.take(gather=False)
    closing = asyncio.ensure_future(owner.close(10))
    owner.begin(late)
    assert await closing
    assert batch.is_closed
    for work in (running, late):
        assert isinstance((await _answer(work))[1].failure, EngineFailed)


@pytest.mark.parametrize(
    "error", [LoadFailed("no room"), ValueError("no room"), InvalidRequest("no room"), _Panic("no room")]
)
async def test_a_load_fails_with_the_librarys_words(error: BaseException) -> None:
    def fail() -> Batch:
        raise error

    owner = Owner(fail, asyncio.get_running_loop(), lambda why: None, "letters")
    with pytest.raises((LoadFailed, InvalidRequest), match="no room"):
        await owner.load()
