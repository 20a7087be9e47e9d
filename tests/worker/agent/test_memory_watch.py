"""Whether too much memory is in use: of the GPUs where there are any, else of the machine."""

import pytest

from weft_proto.weft.types.v1 import Device
from weft_worker.agent.memory_watch import full_devices


def a_device(name: str, used: int, total: int = 100, vendor: str = "cpu") -> Device:
    return Device(id=name, vendor=vendor, total_memory_bytes=total, free_memory_bytes=total - used)


@pytest.mark.parametrize(
    ("devices", "full"),
    [
        ([], []),
        ([a_device("cpu", 95)], []),
        ([a_device("cpu", 96)], [("cpu", 0.96, 1)]),
        ([a_device("cpu", 0, total=0)], []),
        ([a_device("cpu", 99), a_device("g0", 50, vendor="nvidia")], []),
        (
            [a_device(name, used, vendor="nvidia") for name, used in (("g0", 50), ("g1", 97), ("g2", 100))],
            [("g1", 0.97, 2), ("g2", 1.0, 5)],
        ),
    ],
)
def test_each_device_that_is_too_full_is_told_with_how_much_it_is_too_full(
    devices: list[Device], full: list[tuple[str, float, int]]
) -> None:
    found = full_devices(devices, 0.95)
    assert [(d.device_id, d.use, d.excess_bytes) for d in found] == full
