"""What is told is kept in order and within bounds, and what happens often is counted."""

from weft_common.clock import ManualClock
from weft_common.events import COUNT_SECONDS, MAX_COUNTED, Journal
from weft_proto.pb.weft.types.v1.event_pb2 import EVENT_KIND_LOAD
from weft_proto.weft.types.v1 import EventKind


def a_journal(**fields: int) -> tuple[Journal, ManualClock]:
    clock = ManualClock(1_700_000_000.0)
    return Journal("router-0", clock, **fields), clock


def refuse(journal: Journal, model: str = "m", why: str = "no room") -> None:
    journal.tell_counted(EventKind.REFUSAL, "refused", why, reason="NO_CAPACITY", model=model)


def counts(journal: Journal) -> list[tuple[str, str]]:
    return [(event.model, event.details["count"]) for event in journal.waiting]


def test_an_event_says_when_where_what_and_why() -> None:
    journal, clock = a_journal()
    journal.tell(
        EventKind.LOAD, "load_done", "it was asked for", model="m", node="one", replica_id="r-1", seconds=1.5
    )
    (event,) = journal.waiting
    assert (event.kind, event.what, event.why) == (EVENT_KIND_LOAD, "load_done", "it was asked for")
    assert (event.source, event.model, event.node, event.replica_id) == ("router-0", "m", "one", "r-1")
    assert dict(event.details) == {"seconds": "1.5"}
    assert event.time.ToSeconds() == clock.wall()
    assert event.sequence == 0


def test_every_event_has_an_id_of_its_own() -> None:
    journal, _ = a_journal()
    for _ in range(100):
        journal.tell(EventKind.NODE, "node_left", "goodbye")
    assert len({event.id for event in journal.waiting}) == 100


def test_a_full_journal_drops_the_oldest_and_counts_it() -> None:
    journal, _ = a_journal(max_waiting=3)
    for why in "abcde":
        journal.tell(EventKind.NODE, "node_left", why)
    assert [event.why for event in journal.waiting] == ["c", "d", "e"]
    assert journal.dropped_count == 2


async def test_what_made_room_while_it_was_sent_takes_nothing_else_along() -> None:
    journal, _ = a_journal(max_waiting=2)
    journal.tell(EventKind.NODE, "node_left", "a")
    first = await journal.first()
    for why in "bc":
        journal.tell(EventKind.NODE, "node_left", why)
    journal.sent(first)
    assert [event.why for event in journal.waiting] == ["b", "c"]
    journal.sent(await journal.first())
    assert [event.why for event in journal.waiting] == ["c"]


def test_nothing_that_is_told_can_fail_or_grow_without_bound() -> None:
    journal, _ = a_journal()
    details = {f"d{i}": "x" * 10_000 for i in range(100)}
    journal.tell(EventKind.LOAD, "load_failed", "\ud800" + "y" * 100_000, model="\udfff", **details)
    (event,) = journal.waiting
    assert len(event.SerializeToString()) < 16_000
    assert event.model == "?"


def test_the_first_refusal_is_told_at_once_and_the_next_ones_are_counted() -> None:
    journal, clock = a_journal()
    for _ in range(5):
        refuse(journal)
    refuse(journal, model="other")
    assert counts(journal) == [("m", "1"), ("other", "1")]
    clock.advance(COUNT_SECONDS - 1)
    journal.tell_due()
    assert len(journal.waiting) == 2
    refuse(journal, why="still no room")
    clock.advance(1)
    journal.tell_due()
    assert counts(journal)[2:] == [("m", "5")]
    assert journal.waiting[2].why == "still no room"


def test_a_refusal_after_a_quiet_time_is_told_at_once_again() -> None:
    journal, clock = a_journal()
    refuse(journal)
    clock.advance(COUNT_SECONDS)
    journal.tell_due()
    refuse(journal)
    assert counts(journal) == [("m", "1"), ("m", "1")]


def test_nobody_can_have_more_counted_than_there_is_room_for() -> None:
    journal, _ = a_journal()
    refuse(journal, model="m0")
    refuse(journal, model="m0")
    for number in range(1, MAX_COUNTED + 1):
        refuse(journal, model=f"m{number}")
    assert counts(journal)[-2:] == [("m0", "1"), (f"m{MAX_COUNTED}", "1")]


def test_a_journal_that_ends_tells_its_counts() -> None:
    journal, _ = a_journal()
    for _ in range(3):
        refuse(journal)
    journal.tell_rest()
    journal.tell_rest()
    assert counts(journal) == [("m", "1"), ("m", "2")]
