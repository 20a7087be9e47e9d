"""A filter takes what is asked for and nothing else."""

import pytest

from weft_proto.pb.weft.types.v1.event_pb2 import EVENT_KIND_EVICTION, EVENT_KIND_LOAD
from weft_router.events.wanted import Wanted

EVENT = {
    "kind": EVENT_KIND_EVICTION,
    "model": "m",
    "node": "one",
    "details": {"for_model": "other"},
    "seconds": 10.0,
}


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted(kinds=frozenset({EVENT_KIND_EVICTION, EVENT_KIND_LOAD})), True),
        (Wanted(kinds=frozenset({EVENT_KIND_LOAD})), False),
        (Wanted(model="m"), True),
        (Wanted(model="other"), True),
        (Wanted(model="another"), False),
        (Wanted(node="one"), True),
        (Wanted(node="two"), False),
        (Wanted(since=10.0), True),
        (Wanted(since=10.1), False),
        (Wanted(kinds=frozenset({EVENT_KIND_EVICTION}), model="m", node="two"), False),
    ],
)
def test_only_what_fits_every_part_of_a_filter_is_taken(wanted: Wanted, taken: bool) -> None:
    assert wanted.takes(**EVENT) is taken  # type: ignore[arg-type]  # one dict for all fields
