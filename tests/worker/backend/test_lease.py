"""The lines of the lease socket."""

import orjson
import pytest
from pydantic import ValidationError

from weft_worker.backend.lease import (
    Command,
    Hello,
    LeaseState,
    Load,
    PicksOfGateway,
    Report,
    StateChange,
    Stop,
    decode_command,
    decode_report,
    encode,
    socket_address,
)

HELLO = Hello(
    replica_id="r",
    pid=7,
    start_time=8,
    token="secret-token",
    model="m",
    index=0,
    revision="r1",
    address="127.0.0.1:1",
    state=LeaseState.LOADING,
)


@pytest.mark.parametrize(
    "report",
    [
        Report(hello=HELLO),
        Report(state=StateChange(state=LeaseState.FAILED, message="line one\nline two")),
        Report(
            load=Load(
                in_flight=1, queued=2, picks=(PicksOfGateway(gateway_id="g", contiguous=3, beyond=(5,)),)
            )
        ),
    ],
)
def test_a_report_survives_its_line(report: Report) -> None:
    line = encode(report)
    assert line.count(b"\n") == 1
    assert decode_report(line) == report


def test_a_command_survives_its_line() -> None:
    command = Command(stop=Stop(grace_seconds=1.5))
    assert decode_command(encode(command)) == command


def test_the_token_is_no_part_of_a_hellos_text() -> None:
    assert "secret-token" not in repr(HELLO)


@pytest.mark.parametrize("line", [b"{}", b"[]", b"", b'{"load": {}}', b'{"state": {"state": "bored"}}'])
def test_a_line_that_is_no_report_is_refused(line: bytes) -> None:
    with pytest.raises(ValidationError):
        decode_report(line)


def test_a_line_holds_one_report_only() -> None:
    fields = {"state": {"state": "ready"}, "load": {"in_flight": 0, "queued": 0}}
    with pytest.raises(ValidationError, match="exactly one"):
        decode_report(orjson.dumps(fields))


def test_commands_and_fields_of_a_newer_agent_are_left_alone() -> None:
    assert decode_command(b'{"dance": {"steps": 3}}') == Command()


def test_a_name_with_an_at_sign_is_abstract() -> None:
    assert socket_address("@weft/a") == "\0weft/a"
    assert socket_address("/run/a.sock") == "/run/a.sock"
