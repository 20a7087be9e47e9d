"""Picks: what has been seen of each gateway, in bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft_worker.backend.picks import MAX_BEYOND, MAX_GATEWAYS, Pick, PicksSeen, Seen, parse_pick


def _seen(*sequences: int) -> Seen:
    seen = Seen()
    for sequence in sequences:
        seen = seen.add(sequence)
    return seen


def test_picks_in_order_are_contiguous() -> None:
    assert _seen(1, 2, 3) == Seen(3)


def test_a_gap_keeps_later_picks_beyond() -> None:
    assert _seen(1, 3, 5) == Seen(1, (3, 5))


def test_a_filled_gap_is_contiguous_again() -> None:
    assert _seen(1, 3, 2) == Seen(3)


def test_a_pick_seen_twice_changes_nothing() -> None:
    assert _seen(1, 3, 3, 1) == Seen(1, (3,))


def test_the_oldest_beyond_becomes_contiguous_when_there_are_too_many() -> None:
    seen = _seen(*range(10, 10 + 2 * (MAX_BEYOND + 1), 2))
    assert seen == Seen(10, tuple(range(12, 12 + 2 * MAX_BEYOND, 2)))


@given(st.lists(st.integers(min_value=1, max_value=200), max_size=300))
def test_what_was_seen_stays_covered_in_bounded_memory(sequences: list[int]) -> None:
    seen = _seen(*sequences)
    assert all(sequence <= seen.contiguous or sequence in seen.beyond for sequence in sequences)
    assert len(seen.beyond) <= MAX_BEYOND
    assert list(seen.beyond) == sorted(set(seen.beyond))
    assert all(sequence > seen.contiguous + 1 for sequence in seen.beyond)


def test_the_gateway_not_heard_from_for_longest_is_forgotten() -> None:
    told: list[int] = []
    picks = PicksSeen(on_change=lambda: told.append(len(told)))
    for number in range(MAX_GATEWAYS):
        picks.note(Pick(f"g{number}", 1))
    picks.note(Pick("g0", 2))
    picks.note(Pick("new", 1))
    known = [gateway_id for gateway_id, _ in picks.snapshot()]
    assert len(known) == MAX_GATEWAYS
    assert known[-2:] == ["g0", "new"]
    assert "g1" not in known
    assert len(told) == MAX_GATEWAYS + 2


def test_a_pick_is_read_from_metadata() -> None:
    assert parse_pick("gateway-0/a1/17") == Pick("gateway-0/a1", 17)


@pytest.mark.parametrize(
    "text", [None, "", "17", "/17", "g/", "g/x", "g/-1", "g/1²", "g/" + "9" * 20, "g" * 65 + "/1"]
)
def test_an_unusable_pick_is_none(text: str | None) -> None:
    assert parse_pick(text) is None
