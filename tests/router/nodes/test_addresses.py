"""Where workers can be reached."""

import pytest

from weft_common.errors import InvalidRequest
from weft_router.nodes.addresses import at_host_of, can_be_dialled, resolve


@pytest.mark.parametrize(
    ("address", "literal"),
    [
        ("10.0.0.1:50051", "10.0.0.1:50051"),
        ("[::1]:50051", "[::1]:50051"),
        ("localhost:1", "127.0.0.1:1"),
    ],
)
async def test_addresses_become_literals(address: str, literal: str) -> None:
    assert await resolve(address) in (literal, "[::1]:1")


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":1", "host:port", "no.such.host.invalid:1", "a..b:1", "a\0b:1", "a:²"]
)
async def test_addresses_that_cannot_be_dialled_are_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match="address"):
        await resolve(address)


def test_replicas_are_on_the_host_of_their_node() -> None:
    assert at_host_of("10.0.0.1:50051", "127.0.1.1:50060") == "10.0.0.1:50060"
    assert at_host_of("[::1]:50051", "127.0.0.1:50060") == "[::1]:50060"


@pytest.mark.parametrize(
    ("address", "can"),
    [("10.0.0.1:1", True), ("[::1]:65535", True)]
    + [(f"10.0.0.1:{port}", False) for port in ("", "0", "65536", "-1", "²", "1 ")]
    + [("host:1", False), (":1", False), ("10.0.0.1", False)],
)
def test_only_a_literal_and_a_port_can_be_dialled(address: str, can: bool) -> None:
    assert can_be_dialled(address) is can
