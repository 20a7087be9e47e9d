import socket

import pytest

from weft_worker.agent.addresses import advertised, dialable, is_free, literal
from weft_worker.settings import Address

BOUND = Address("192.0.2.1", 50051)


def test_an_address_that_was_given_is_advertised() -> None:
    assert advertised(BOUND, "worker.example:7000", "127.0.0.1:8080") == Address("worker.example", 7000)


def test_a_host_without_port_gets_the_bound_one() -> None:
    assert advertised(BOUND, "10.0.0.7", "127.0.0.1:8080") == Address("10.0.0.7", 50051)
    assert str(advertised(BOUND, "[2001:db8::7]", "127.0.0.1:8080")) == "[2001:db8::7]:50051"


def test_a_bound_address_is_advertised_as_it_is() -> None:
    assert advertised(BOUND, None, "127.0.0.1:8080") == BOUND


def test_bound_to_every_address_the_one_towards_the_router_is_advertised() -> None:
    assert advertised(Address("0.0.0.0", 50051), None, "127.0.0.1:8080") == Address("127.0.0.1", 50051)


def test_a_router_that_cannot_be_resolved_leaves_the_local_address() -> None:
    assert advertised(Address("0.0.0.0", 1), None, "nowhere.invalid:1").host == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "ip"), [("10.0.0.7", "10.0.0.7"), ("::1", "::1"), ("x.invalid", "x.invalid")]
)
def test_hosts_become_literals_where_they_can(host: str, ip: str) -> None:
    assert literal(host) == ip


def test_a_name_is_resolved() -> None:
    assert literal("localhost") in ("127.0.0.1", "::1")


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_what_is_bound_to_every_address_is_dialled_here() -> None:
    assert (dialable("0.0.0.0"), dialable("::"), dialable("10.0.0.7")) == ("127.0.0.1", "::1", "10.0.0.7")
