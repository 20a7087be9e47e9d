"""Replica choice: in flight, then longest unused, then free memory, then a turn that differs by gateway."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from weft_common.choice import Choice, choose


@dataclass(frozen=True)
class Candidate:
    replica_id: str
    in_flight_count: int = 0
    last_used: float = 0.0
    free_memory_bytes: int = 0


def test_nothing_to_choose_from_is_no_choice() -> None:
    assert choose([], "g") is None


def test_a_single_candidate_has_no_fallback() -> None:
    only = Candidate("a")
    assert choose([only], "g") == Choice(only, None)


def test_fewest_in_flight_wins_before_anything_else() -> None:
    busy = Candidate("busy", in_flight_count=2, last_used=0, free_memory_bytes=99)
    calm = Candidate("calm", in_flight_count=1, last_used=9, free_memory_bytes=1)
    assert choose([busy, calm], "g") == Choice(calm, busy)


def test_longest_unused_wins_before_memory() -> None:
    roomy = Candidate("roomy", last_used=5, free_memory_bytes=99)
    rested = Candidate("rested", last_used=4, free_memory_bytes=1)
    assert choose([roomy, rested], "g") == Choice(rested, roomy)


def test_more_free_memory_breaks_a_tie() -> None:
    small, large = Candidate("small", free_memory_bytes=1), Candidate("large", free_memory_bytes=2)
    assert choose([small, large], "g") == Choice(large, small)


def test_gateways_do_not_all_prefer_the_same_of_equals() -> None:
    equals = [Candidate(f"r-{i}") for i in range(4)]
    first = {choose(equals, f"g-{n}").primary.replica_id for n in range(64)}  # type: ignore[union-attr]
    assert first == {c.replica_id for c in equals}


@given(
    st.lists(
        st.builds(Candidate, st.uuids().map(str), st.integers(0, 9), st.floats(0, 9)), min_size=2, unique=True
    )
)
def test_the_choice_does_not_depend_on_order_and_never_falls_back_on_itself(
    candidates: list[Candidate],
) -> None:
    choice = choose(candidates, "g")
    assert choice == choose(candidates[::-1], "g")
    assert choice is not None
    assert choice.primary is not choice.fallback
    assert choice.primary.in_flight_count == min(c.in_flight_count for c in candidates)


def test_a_free_slot_comes_before_a_full_replica_however_few_requests_that_has() -> None:
    small = Candidate("small", in_flight_count=1)
    large = Candidate("large", in_flight_count=5)
    slots = {"small": 1, "large": 8}
    assert choose([small, large], "g", slots=lambda c: slots[c.replica_id]) == Choice(large, small)
    assert choose([small, large], "g") == Choice(small, large)


def test_among_full_replicas_the_fewest_requests_win() -> None:
    pair = [Candidate("a", in_flight_count=5), Candidate("b", in_flight_count=4)]
    choice = choose(pair, "g", slots=lambda c: 1)
    assert choice is not None
    assert choice.primary.replica_id == "b"


# Whole numbers and others, since equality of those two is not for their methods to say.
_MOMENTS = st.one_of(st.floats(0, 2), st.integers(0, 2))


def _order(candidate: Candidate) -> tuple[float, ...]:
    return (candidate.in_flight_count, candidate.last_used, -candidate.free_memory_bytes)


@given(
    st.lists(
        st.builds(Candidate, st.uuids().map(str), st.integers(0, 3), _MOMENTS, st.integers(0, 2)),
        min_size=2,
        unique_by=lambda c: c.replica_id,
    )
)
def test_primary_and_fallback_are_the_first_two_of_the_seeds_order(candidates: list[Candidate]) -> None:
    choice = choose(candidates, "g")
    assert choice is not None
    assert choice.fallback is not None
    first, second = sorted(_order(c) for c in candidates)[:2]
    assert (_order(choice.primary), _order(choice.fallback)) == (first, second)
