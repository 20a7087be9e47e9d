"""Prefix affinity: the warm replica is preferred, within a guard on its load."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft_common.affinity import BLOCK_BYTES, MAX_BLOCKS, AffinityRules, PrefixIndex, hash_chain
from weft_common.choice import Choice, choose

RULES = AffinityRules()


@dataclass(frozen=True)
class Candidate:
    replica_id: str
    in_flight_count: int = 0
    last_used: float = 0.0
    free_memory_bytes: int = 0


A, B = Candidate("a"), Candidate("b")


def prompt(*parts: str) -> bytes:
    """A prompt of one block for each part."""
    return b"".join(part.encode().ljust(BLOCK_BYTES, b".") for part in parts)


def chain(*parts: str) -> tuple[int, ...]:
    return hash_chain("m", prompt(*parts))


def preferred(
    index: PrefixIndex, *parts: str, now: float = 0, candidates: tuple[Candidate, ...] = (A, B)
) -> str:
    found = index.prefer(candidates, chain(*parts), RULES, now)
    return found.replica_id if found else ""


def test_a_longer_conversation_begins_with_the_hashes_of_the_shorter() -> None:
    assert chain("system", "hello", "more")[:2] == chain("system", "hello")
    assert chain("other", "hello")[1] != chain("system", "hello")[1]


def test_hashes_are_of_a_model_and_whole_blocks_and_bounded() -> None:
    assert hash_chain("m", prompt("x")) != hash_chain("n", prompt("x"))
    assert hash_chain("m", b"x" * (BLOCK_BYTES - 1)) == ()
    assert len(hash_chain("m", b"x" * BLOCK_BYTES * 1000)) == MAX_BLOCKS


def test_the_same_prefix_sticks_to_its_replica() -> None:
    index = PrefixIndex()
    index.observe(chain("s", "1"), "b", 0)
    assert preferred(index, "s", "1") == "b"
    assert preferred(index, "s", "1", "2") == "b"
    assert preferred(index, "other") == ""


def test_the_longest_prefix_wins() -> None:
    index = PrefixIndex()
    index.observe(chain("s", "1"), "a", 0)
    index.observe(chain("s", "1", "2"), "b", 0)
    assert preferred(index, "s", "1", "2", "3") == "b"


def test_a_short_match_is_ignored() -> None:
    index = PrefixIndex()
    index.observe(chain("s"), "b", 0)
    assert preferred(index, "s", *"123") == ""
    assert preferred(index, "s", *"12") == "b"


def test_a_prefix_is_cold_after_its_time() -> None:
    index = PrefixIndex(ttl_seconds=300)
    index.observe(chain("s"), "b", 0)
    assert preferred(index, "s", now=300) == "b"
    assert preferred(index, "s", now=301) == ""


@pytest.mark.parametrize(
    ("warm", "other", "expected"), [(1, 0, "b"), (2, 0, ""), (2, 1, "b"), (3, 1, ""), (6, 4, "b"), (7, 4, "")]
)
def test_a_replica_that_has_much_more_to_do_is_not_preferred(warm: int, other: int, expected: str) -> None:
    index = PrefixIndex()
    index.observe(chain("s"), "b", 0)
    assert preferred(index, "s", candidates=(Candidate("a", other), Candidate("b", warm))) == expected


def test_beside_a_busy_holder_the_next_best_one_is_preferred() -> None:
    index = PrefixIndex()
    index.observe(chain("s", "1", "2"), "b", 0)
    index.observe(chain("s", "1"), "a", 0)
    cold = Candidate("c")
    assert preferred(index, "s", "1", "2", candidates=(A, Candidate("b", 9), cold)) == "a"


def test_a_prefix_moves_on_when_its_replica_is_gone() -> None:
    index = PrefixIndex()
    index.observe(chain("s"), "gone", 0)
    assert preferred(index, "s") == ""
    index.observe(chain("s"), "a", 1)
    assert preferred(index, "s", now=1) == "a"


def test_what_is_kept_is_bounded() -> None:
    index = PrefixIndex(max_blocks=3, max_holders=2)
    for number in range(10):
        index.observe(chain(f"p{number}"), "a", number)
        index.observe(chain("shared"), f"r-{number}", number)
    assert len(index) == 3
    assert preferred(index, "p0") == ""
    assert preferred(index, "p9") == "a"
    assert index.prefer((Candidate("r-0"), Candidate("r-9")), chain("shared"), RULES, 9) == Candidate("r-9")


def test_the_preferred_one_is_primary_and_the_fallback_is_the_best_of_the_others() -> None:
    busy, calm = Candidate("busy", 5), Candidate("calm", 1)
    assert choose([busy, A, calm], "g", preferred=calm) == Choice(calm, A)


@given(
    st.lists(
        st.builds(Candidate, st.sampled_from("abcdefgh"), st.integers(0, 20)),
        min_size=1,
        unique_by=lambda c: c.replica_id,
    ),
    st.lists(
        st.tuples(st.lists(st.sampled_from("xyz"), max_size=4), st.sampled_from("abcdefgh")), max_size=20
    ),
    st.lists(st.sampled_from("xyz"), max_size=5),
)
def test_who_is_preferred_is_a_candidate_within_the_guard_that_saw_the_prefix(
    candidates: list[Candidate], seen: list[tuple[list[str], str]], parts: list[str]
) -> None:
    index = PrefixIndex()
    for before, replica_id in seen:
        index.observe(chain(*before), replica_id, 0)
    found = index.prefer(candidates, chain(*parts), RULES, 0)
    if found is not None:
        fewest = min(c.in_flight_count for c in candidates)
        assert found in candidates
        assert found.in_flight_count <= fewest + 2
        assert found.in_flight_count <= fewest * 1.5 + 1
        assert any(i == found.replica_id and before[:1] == parts[:1] for before, i in seen)
