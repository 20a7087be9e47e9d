"""The mutations themselves: a seed names its bodies, and most of them are wrong in ways that differ."""

import json

from tests.fuzz.mutation import mutated
from tests.fuzz.surfaces import SURFACES

BODIES = SURFACES[0].bodies


def test_a_seed_and_a_number_name_one_body() -> None:
    assert [mutated(7, number, BODIES) for number in range(50)] == [mutated(7, n, BODIES) for n in range(50)]


def test_bodies_differ_and_many_are_still_json() -> None:
    drawn = [mutated(7, number, BODIES) for number in range(300)]
    assert len(set(drawn)) > 250
    assert len([raw for raw in drawn if _is_json(raw)]) > 150


def test_every_surface_can_be_bent() -> None:
    assert all(mutated(1, number, each.bodies) != b"{}" for each in SURFACES for number in range(100))


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True
