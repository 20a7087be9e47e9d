"""Errors across the wire and back."""

from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from weft_common.errors import (
    BY_REASON,
    DeadlineExceeded,
    FieldViolation,
    InternalError,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    NoCapacity,
    PartUnreachable,
    WeftError,
)
from weft_common.rpc import stub
from weft_common.rpc.status import from_rpc_error, to_status
from weft_proto.weft.routing.v1 import RouteRequest


def parts(error: WeftError) -> tuple[object, ...]:
    return type(error), error.message, error.retry_after, error.violations, error.metadata


def received(error: WeftError) -> WeftError:
    """What a client makes of an error, without a server."""
    status = to_status(error)
    wire = grpc.aio.Metadata(*status.trailing_metadata)
    return from_rpc_error(grpc.aio.AioRpcError(status.code, None, wire, status.details), "/s/m")


def details(error: WeftError) -> list[str]:
    ((_, raw),) = to_status(error).trailing_metadata
    return [detail.TypeName() for detail in status_pb2.Status.FromString(raw).details]


def silent(code: grpc.StatusCode, *metadata: tuple[str, bytes]) -> WeftError:
    return from_rpc_error(grpc.aio.AioRpcError(code, None, grpc.aio.Metadata(*metadata), "why"), "/a.B/C")


@pytest.mark.parametrize("kind", BY_REASON.values())
def test_every_error_survives_the_wire(kind):
    assert parts(received(kind("what happened"))) == parts(kind("what happened"))


def test_retry_violations_and_metadata_survive_the_wire():
    error = InvalidRequest(
        "two fields are wrong",
        retry_after=timedelta(milliseconds=1_500),
        violations=[FieldViolation("messages.0.content", "is missing"), FieldViolation("n", "is 0")],
        metadata={"model": "m", "node": "a"},
    )
    assert parts(received(error)) == parts(error)


async def test_error_survives_a_real_call(serve, echo_stub):
    async with serve() as served:
        served.echo.failure = NoCapacity(
            "No node can take “m”:\n95 % full",
            retry_after=timedelta(seconds=2),
            violations=[FieldViolation("model", "does not fit")],
            metadata={"excluded": "a: full"},
        )
        with pytest.raises(NoCapacity) as raised:
            await stub(echo_stub, served.channel).once(RouteRequest(model="fail"))
        assert parts(raised.value) == parts(served.echo.failure)


def test_plain_error_has_exactly_one_detail():
    assert details(ModelNotFound("no")) == ["google.rpc.ErrorInfo"]


def test_retry_and_violations_add_their_details():
    error = ModelLoading("wait", retry_after=timedelta(0), violations=[FieldViolation("a", "b")])
    assert details(error) == ["google.rpc.ErrorInfo", "google.rpc.RetryInfo", "google.rpc.BadRequest"]


def test_long_errors_are_cut_to_fit_a_clients_metadata_limit():
    long = "é" * 50_000
    error = InvalidRequest(
        long, violations=[FieldViolation(long, long)] * 50, metadata={str(n): long for n in range(50)}
    )
    status = to_status(error)
    assert len(status.details.encode()) <= 2_000
    assert status.details.endswith("…")
    assert sum(len(value) for _, value in status.trailing_metadata) < 9_000


@given(st.text())
def test_no_text_breaks_a_status(text):
    assert isinstance(received(InternalError(text)), InternalError)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, PartUnreachable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, InternalError),
        (grpc.StatusCode.UNKNOWN, InternalError),
    ],
)
def test_status_without_details_is_named_by_its_code(code, kind):
    assert type(silent(code)) is kind


def test_unreachable_part_is_named():
    assert silent(grpc.StatusCode.UNAVAILABLE).metadata == {"part": "a.B"}


def test_reason_of_another_domain_is_not_ours():
    status = status_pb2.Status(code=14, message="why")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="NO_CAPACITY", domain="elsewhere"))
    raw = status.SerializeToString()
    assert type(silent(grpc.StatusCode.UNAVAILABLE, ("grpc-status-details-bin", raw))) is PartUnreachable


@pytest.mark.parametrize("raw", [b"\xff\xff", status_pb2.Status(code=5, message="other").SerializeToString()])
def test_details_that_cannot_be_read_leave_the_code(raw):
    assert type(silent(grpc.StatusCode.UNAVAILABLE, ("grpc-status-details-bin", raw))) is PartUnreachable
