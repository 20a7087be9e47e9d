"""The order of waiting: equal work for equal weight, whoever came first among equals, priorities before all."""

from heapq import heappop, heappush
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.router.slots.simulated import Customer, Shop
from weft_router.slots.core.fair_queue import Claim, FairQueue, Forecast

A, B, C = Claim("a"), Claim("b"), Claim("c")


def order(queue: FairQueue) -> list[str]:
    """Serve everybody, each with one request under way for ever after."""
    served: list[str] = []
    while len(queue):
        name = queue.take().claim.principal
        served.append(name)
        queue.note(name, (served.count(name), 0.0))
    return served


def filled(*claims: Claim) -> FairQueue:
    queue = FairQueue()
    for number, claim in enumerate(claims):
        queue.add(claim, number, 0.0)
    return queue


def test_one_principals_requests_go_first_come_first_served() -> None:
    queue = filled(A, A, A)
    assert [queue.take().number for _ in range(3)] == [0, 1, 2]


def test_equals_take_turns_however_many_one_of_them_sent_before() -> None:
    assert "".join(order(filled(A, A, A, A, B, B))) == "ababaa"


def test_weight_two_goes_twice_as_often() -> None:
    served = order(filled(*[Claim("a")] * 20, *[Claim("b", weight=2)] * 20))
    assert served[:15].count("b") == 10


def test_a_higher_priority_goes_first_whatever_it_had() -> None:
    assert order(filled(A, B, Claim("vip", priority=1), Claim("vip", priority=1)))[:2] == ["vip", "vip"]


def test_of_equal_rank_the_one_who_waits_longest_goes_first() -> None:
    assert order(filled(C, A, B)) == ["c", "a", "b"]


def test_what_is_under_way_counts_before_it_has_ended() -> None:
    queue = FairQueue()
    queue.add(A, 1, 0.0, (3, 0.0))
    queue.take()
    queue.note("a", (4, 0.0))
    queue.add(A, 2, 0.0, (4, 0.0))
    queue.add(B, 3, 0.0)
    assert queue.take().claim == B


def test_a_running_request_that_is_longer_than_usual_counts_with_what_it_took() -> None:
    queue = filled(A, B)
    for name in ("a", "b"):
        queue.settle(name, 10, 1, 1.0)
    queue.note("a", (1, 500.0))
    queue.note("b", (2, 0.0))
    assert queue.take().claim == B


def test_a_request_that_says_how_short_it_is_counts_for_no_more() -> None:
    queue = FairQueue()
    queue.add(Claim("a", max_work=1), 1, 0.0)
    queue.add(Claim("b", max_work=1000), 2, 0.0)
    queue.note("a", (2, 0.0))
    queue.note("b", (1, 0.0))
    assert queue.take().claim.principal == "a"


def test_an_absence_earns_nothing() -> None:
    shop = Shop(4, [Customer("a", lanes=40)], Random(1))
    shop.run(60)
    late = Customer("b", lanes=40)
    for _ in range(late.lanes):
        shop.ask(late)
    shop.done.clear()
    shop.run(20)
    assert shop.share("b") == pytest.approx(0.5, abs=0.05)


def test_work_while_nobody_waited_costs_nothing() -> None:
    queue = filled(A)
    queue.take()
    for _ in range(100):
        queue.settle("a", 1000, 1, 1.0)
    assert "".join(order_of_adding(queue)) == "abab"


def order_of_adding(queue: FairQueue) -> list[str]:
    for number, claim in enumerate((A, A, B, B)):
        queue.add(claim, 10 + number, 0.0)
    return order(queue)


def test_a_request_that_left_waits_no_more() -> None:
    queue = FairQueue()
    first, second = queue.add(A, 1, 0.0), queue.add(A, 2, 0.0)
    queue.remove(first)
    queue.remove(first)
    assert len(queue) == 1
    assert queue.take() is second


def test_the_newest_of_whoever_waits_with_most_gives_way() -> None:
    queue = filled(A, A, A, Claim("heavy", weight=4), Claim("heavy", weight=4), B)
    found = queue.giving_way()
    assert found is not None
    assert (found.claim, found.number) == (A, 2)
    assert (queue.crowd(B), queue.crowd(C), queue.crowd(A)) == (2, 1, 4)


def test_a_lower_priority_gives_way_first_however_few_they_are() -> None:
    found = filled(A, A, A, Claim("low", priority=-1)).giving_way()
    assert found is not None
    assert found.claim.principal == "low"


def test_a_forecast_knows_who_goes_before() -> None:
    queue = filled(*[A] * 100)
    assert queue.forecast(B, 4) == Forecast(1, None)
    queue.settle("a", 16, 1, 2.0)
    assert queue.forecast(B, 4) == Forecast(0, 0.5)
    assert queue.forecast(A, 4) == Forecast(100, 50.5)
    assert queue.forecast(Claim("vip", priority=1), 4) == Forecast(0, 0.5)
    assert queue.forecast(Claim("low", priority=-1), 4) == Forecast(100, 50.5)


@pytest.mark.parametrize("seed", range(5))
def test_long_and_short_requests_get_equal_shares_of_tokens(seed: int) -> None:
    shop = Shop(8, [Customer("long", (100, 200), 16), Customer("short", (5, 15), 16)], Random(seed))
    shop.run(120)
    assert shop.share("long") == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_weight_two_beside_two_of_one_gets_half(seed: int) -> None:
    customers = [Customer("a"), Customer("b", (40, 80)), Customer("c", (4, 40), weight=2)]
    shop = Shop(8, customers, Random(seed))
    shop.run(120)
    assert shop.share("c") == pytest.approx(0.5, abs=0.05)
    assert shop.share("a") == pytest.approx(0.25, abs=0.05)


def test_a_burst_of_a_thousand_makes_nobody_else_wait() -> None:
    shop = Shop(4, [Customer("burst", lanes=1000)], Random(1))
    shop.run(5)
    for number in range(20):
        before = len(shop.served)
        shop.ask(Customer(f"single-{number % 3}", lanes=0))
        shop.run(1)
        assert f"single-{number % 3}" in shop.served[before : before + 3]


customers = st.lists(
    st.builds(
        Customer,
        st.sampled_from("abcdef"),
        st.tuples(st.integers(1, 30), st.integers(30, 200)),
        st.integers(12, 40),
        st.sampled_from((0.5, 1.0, 2.0)),
    ),
    min_size=2,
    max_size=5,
    unique_by=lambda c: c.name,
)


@settings(max_examples=40, deadline=None)
@given(customers, st.integers(1, 8), st.integers(0, 1000))
def test_whoever_always_wants_more_gets_his_share_and_nobody_starves(
    wanting: list[Customer], slots: int, seed: int
) -> None:
    shop = Shop(slots, list(wanting), Random(seed))
    shop.run(400 / slots)
    total = sum(c.weight for c in wanting)
    # The coarsest step is a request, so whoever has few of long ones may be that far off.
    step = 200 * (slots + 2) / max(1, shop.done.total())
    for customer in wanting:
        assert shop.share(customer.name) == pytest.approx(customer.weight / total, abs=0.03 + step)


@pytest.mark.parametrize(("slots", "seconds"), [(1, 65.0), (1, 200.0), (2, 130.0), (4, 20.0)])
def test_slots_do_not_stand_empty_at_five_times_the_load_however_long_requests_take(
    slots: int, seconds: float
) -> None:
    assert used_share(slots, seconds, patience=60.0) > 0.92


def used_share(slots: int, seconds: float, patience: float) -> float:
    """How much of their time slots work at five times the load, each request waiting for so long at most."""
    rng, queue, until = Random(7), FairQueue(), 2000 * seconds
    ends: list[float] = []
    now = used = 0.0

    def serve(now: float) -> float:
        length = rng.uniform(0.5, 1.5) * seconds
        heappush(ends, now + length)
        return length

    for number in count(1):
        now += rng.expovariate(5 * slots / seconds)
        while ends and ends[0] <= now:
            end = heappop(ends)
            queue.settle(A.principal, 1, 1, seconds)
            leave(queue, end - patience)
            used += serve(end) if len(queue) and queue.take() else 0.0
        leave(queue, now - patience)
        if len(ends) < slots:
            used += serve(now)
        elif not queue.forecast(A, slots).is_longer(patience, slots):
            queue.add(A, number, now)
        if now > until:
            break
    return used / slots / until


def leave(queue: FairQueue, before: float) -> None:
    """Those go who have waited for too long."""
    for _, waits in list(queue.waits()):
        for wait in waits:
            if wait.since < before:
                queue.remove(wait)
