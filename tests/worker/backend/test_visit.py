"""The line that each call leaves in the log."""

import asyncio
import logging

import pytest

from weft_common.clock import ManualClock
from weft_common.errors import ReplicaFull
from weft_common.ticket import Ticket
from weft_worker.backend.visit import logged_visit
from weft_worker.engines.base import Delta, Finished, FinishReason, Usage


def _fields(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (record,) = [record for record in caplog.records if record.getMessage() == "request_ended"]
    return vars(record)


def test_a_whole_call_is_counted_and_timed(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    with caplog.at_level(logging.INFO), logged_visit("Chat", "m", clock) as visit:
        visit.ticket = Ticket("req", ("m#0@r/1",), "alice", 0)
        clock.advance(0.25)
        visit.admitted = clock.monotonic()
        clock.advance(0.5)
        visit.saw(Delta("secret text", 2), clock.monotonic())
        clock.advance(1)
        visit.saw(Finished(FinishReason.STOP, Usage(5, 3, 1)), clock.monotonic())
    fields = _fields(caplog)
    expected = {
        "rpc": "Chat",
        "model": "m",
        "principal": "alice",
        "outcome": "ok",
        "finish_reason": "stop",
        "prompt_token_count": 5,
        "completion_token_count": 3,
        "cached_token_count": 1,
        "queued_ms": 250.0,
        "first_token_ms": 750.0,
        "total_ms": 1750.0,
    }
    assert {key: fields[key] for key in expected} == expected
    assert "secret" not in str(fields)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ReplicaFull("full"), "REPLICA_FULL"),
        (asyncio.CancelledError(), "CANCELLED"),
        (GeneratorExit(), "CANCELLED"),
        (KeyError("bug"), "INTERNAL"),
    ],
)
def test_the_outcome_is_how_the_call_ended(
    caplog: pytest.LogCaptureFixture, error: BaseException, outcome: str
) -> None:
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(type(error)),
        logged_visit("Chat", "m", ManualClock()) as visit,
    ):
        visit.saw(Delta("a"), 1000.0)
        raise error
    fields = _fields(caplog)
    assert (fields["outcome"], fields["completion_token_count"]) == (outcome, 1)
