"""gRPC's deadline as a number of seconds."""

import pytest

from weft_gateway.patience import patience_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("2H", 7200), ("3M", 180), ("4S", 4), ("500m", 0.5), ("7u", 7e-6), ("9n", 9e-9)]
)
def test_a_deadline_has_a_unit(text: str, seconds: float) -> None:
    assert patience_of({"grpc-timeout": text}) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "S", "-1S", "123456789S", "1.5S"])
def test_what_is_none_sets_no_limit(text: str) -> None:
    assert patience_of({"grpc-timeout": text}) == float("inf")
