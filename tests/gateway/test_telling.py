"""A gateway tells of refusals of its own, and never of a router's."""

from typing import Any

import pytest

from weft_common.clock import ManualClock
from weft_common.errors import NoCapacity, PartUnavailable, WaitTooLong, WeftError
from weft_common.events import Journal
from weft_gateway.keys import Principal
from weft_gateway.slot import Ask
from weft_gateway.telling import TellingAdmission

ROUTER = {"part": "router"}


class FakeView:
    models = frozenset({"m"})


class FakeAdmission:
    def __init__(self, outcome: WeftError | str) -> None:
        self.outcome = outcome

    async def admit(self, ask: Ask) -> Any:
        if isinstance(self.outcome, WeftError):
            raise self.outcome
        return self.outcome


async def told(outcome: WeftError | str, model: str = "m") -> list[tuple[str, str, dict[str, str]]]:
    journal = Journal("gateway-0", ManualClock())
    admission = TellingAdmission(FakeAdmission(outcome), FakeView(), journal)  # type: ignore[arg-type]  # fakes
    ask = Ask(model, Principal("alice", weight=1.0, priority=0), "req-1", b"a secret")
    if isinstance(outcome, WeftError):
        with pytest.raises(type(outcome)):
            await admission.admit(ask)
    else:
        assert await admission.admit(ask) == outcome
    return [(event.what, event.model, dict(event.details)) for event in journal.waiting]


@pytest.mark.parametrize("kind", [PartUnavailable, WaitTooLong])
async def test_a_refusal_for_want_of_a_router_is_told(kind: type[WeftError]) -> None:
    details = {"reason": kind.reason, "count": "1"}
    assert await told(kind("no router", metadata=ROUTER)) == [("refused", "m", details)]


async def test_a_name_that_nobody_knows_is_not_kept() -> None:
    ((_, model, _),) = await told(PartUnavailable("no router", metadata=ROUTER), "whatever somebody types")
    assert model == ""


@pytest.mark.parametrize(
    "outcome", [NoCapacity("full"), PartUnavailable("", metadata={"part": "nats"}), "fine"]
)
async def test_what_a_router_tells_or_what_is_served_is_not_told_again(outcome: WeftError | str) -> None:
    assert await told(outcome) == []
