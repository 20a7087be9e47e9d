"""Whose turn it is: bounded, in order, and not for ever of those whose steps take long."""

from collections import Counter

from tests.router.builders import a_replica
from weft_router.fleet.scaling import Grow, Shrink, Step
from weft_router.fleet.turns import Turns

NAMES = [f"m{n}" for n in range(20)]


def grow(model: str) -> Step:
    return Grow(model, "too few")


def shrink(model: str) -> Step:
    return Shrink(a_replica(f"r-{model}", model=model), "too many")


def begun(turns: Turns, *steps: Step, now: float) -> list[str]:
    """Which of these may begin at one look, and do."""
    found: list[Step] = []
    for step in steps:
        if turns.may_begin(step, found, now):
            found.append(step)
    for step in found:
        turns.begin(step, now)
    return [step.model for step in found]


def test_eight_loads_and_eight_unloads_at_once_and_no_more() -> None:
    turns = Turns()
    assert begun(turns, *map(grow, NAMES[:10]), *map(shrink, NAMES[10:]), now=0) == [
        *NAMES[:8],
        *NAMES[10:18],
    ]
    assert begun(turns, grow("one"), shrink("more"), now=9) == []
    turns.end(NAMES[0])
    turns.end(NAMES[10])
    assert begun(turns, grow("one"), shrink("more"), now=9) == ["one", "more"]


def test_a_load_that_takes_long_keeps_no_other_from_beginning() -> None:
    turns = Turns()
    assert begun(turns, *map(grow, NAMES), now=0) == NAMES[:8]
    assert begun(turns, *map(grow, NAMES[8:]), now=9.9) == []
    assert begun(turns, *map(grow, NAMES[8:]), now=10) == NAMES[8:16]
    assert turns.busy == frozenset(NAMES[:16])


def test_whoever_was_served_longest_ago_is_next_and_nobody_waits_for_good() -> None:
    turns, served = Turns(), []
    for now in range(6):
        names = begun(turns, *map(grow, turns.ordered(NAMES)), now=now)
        for name in names:
            turns.end(name)
        served += names
    assert served[:20] == NAMES
    assert set(Counter(served).values()) == {2, 3}


def test_of_models_that_nobody_asks_about_nothing_is_kept() -> None:
    turns = Turns()
    for name in NAMES:
        turns.begin(grow(name), 0)
        turns.end(name)
    assert turns.ordered([]) == []
    assert turns == Turns()
