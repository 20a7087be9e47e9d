import pytest

from weft_worker.agent.ports import Ports, PortsExhausted


def anything(_: int) -> bool:
    return True


def test_ports_are_given_from_the_first_upwards() -> None:
    ports = Ports(50052)
    assert [ports.acquire(0.0, anything) for _ in range(3)] == [50052, 50053, 50054]


def test_a_port_that_somebody_else_has_is_passed_over() -> None:
    assert Ports(50052).acquire(0.0, lambda port: port != 50052) == 50053


def test_a_released_port_rests_before_it_is_given_again() -> None:
    ports = Ports(50052, rest_seconds=15.0)
    ports.release(ports.acquire(0.0, anything), 100.0)
    assert ports.acquire(114.9, anything) == 50053
    assert ports.acquire(115.0, anything) == 50052


def test_the_port_of_an_adopted_process_is_not_given() -> None:
    ports = Ports(50052)
    ports.hold(50052)
    assert ports.acquire(0.0, anything) == 50053


def test_a_port_that_was_never_held_does_not_rest() -> None:
    ports = Ports(50052)
    ports.release(50052, 0.0)
    assert ports.acquire(0.0, anything) == 50052


def test_without_a_first_port_the_kernel_draws() -> None:
    ports = Ports(0)
    assert [ports.acquire(0.0, lambda _: False) for _ in range(2)] == [0, 0]


def test_no_port_left_is_said() -> None:
    with pytest.raises(PortsExhausted, match="65000"):
        Ports(65000).acquire(0.0, lambda _: False)
