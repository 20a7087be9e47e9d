import pytest

from weft_worker.agent.patience import Standing, forsaken
from weft_worker.backend.lease import LeaseState

GIB = 2**30


def verdict(
    state: LeaseState = LeaseState.READY,
    *,
    age: float = 0.0,
    unlinked: float | None = None,
    size_bytes: int = 0,
) -> str:
    return forsaken(Standing(state, age, unlinked, size_bytes), lease_seconds=30.0)


@pytest.mark.parametrize("state", [LeaseState.READY, LeaseState.UNLOADING])
def test_a_backend_that_serves_is_kept_for_ever(state: LeaseState) -> None:
    assert verdict(state, age=1e9) == ""


def test_a_backend_has_its_lease_to_come_back() -> None:
    assert verdict(unlinked=30.0) == ""
    assert verdict(unlinked=30.1) == "it did not come back to its agent within 30 s"


def test_a_failed_backend_stays_for_its_cause_to_be_read() -> None:
    assert verdict(LeaseState.FAILED, age=9.0) == ""
    assert verdict(LeaseState.FAILED, age=11.0) == "it was failed for more than 10 s"


def test_a_load_may_take_longer_the_larger_the_model_is() -> None:
    assert verdict(LeaseState.LOADING, age=601.0) == "it was loading for more than 600 s"
    assert verdict(LeaseState.LOADING, age=601.0, size_bytes=GIB) == ""
    assert verdict(LeaseState.LOADING, age=641.0, size_bytes=GIB) != ""
